"""What is computed once is not computed again: prefixes that are reused, and guesses from the text so far."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp as lib

from forge_llamacpp import LlamaCppBackend
from llamaforge.results import GeneratedText
from support.llama_engine import tokens_of

ENDLESS: dict[str, Any] = {"raw": True, "logit_bias": {256: -100}}
SYSTEM = "You are a patient teacher. You explain everything in short words, and give one example for each thing. " * 3


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each step that llama.cpp is given."""
    tokens: list[int] = []
    decode = lib.llama_decode

    def watching(context: Any, batch: Any) -> int:
        tokens.append(batch.n_tokens)
        return int(decode(context, batch))

    monkeypatch.setattr(lib, "llama_decode", watching)
    return tokens


def cached(answer: GeneratedText) -> int:
    assert answer.usage is not None
    return answer.usage.cached_tokens


def length(answer: GeneratedText) -> int:
    assert answer.usage is not None
    return answer.usage.prompt_tokens


def test_the_same_prompt_again_computes_its_last_token_alone(fresh: LlamaCppBackend, computed: list[int]) -> None:
    first = fresh.generate("Count from 1 to 20.", temperature=0, max_tokens=12)
    assert cached(first) == 0
    assert sum(computed) == length(first) + 11
    computed.clear()
    second = fresh.generate("Count from 1 to 20.", temperature=0, max_tokens=12)
    assert second == first
    assert cached(second) == length(first) - 1
    assert sum(computed) == 12


def test_a_chat_turn_starts_after_what_was_said(fresh: LlamaCppBackend, computed: list[int]) -> None:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "What is 2+2?"}]
    first = fresh.chat(messages, temperature=0, max_tokens=11)
    computed.clear()
    messages += [{"role": "assistant", "content": str(first)}, {"role": "user", "content": "And 3+3?"}]
    second = fresh.chat(messages, temperature=0, max_tokens=11)
    assert first.usage is not None
    assert second.usage is not None
    assert cached(second) == length(first) + first.usage.completion_tokens
    assert sum(computed) == length(second) - cached(second) + second.usage.completion_tokens


def test_a_system_prompt_is_shared(fresh: LlamaCppBackend) -> None:
    def ask(question: str) -> GeneratedText:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        return fresh.chat(messages, temperature=0, max_tokens=2)

    shared = len(tokens_of(fresh, fresh.render(messages=[{"role": "system", "content": SYSTEM}])))
    assert cached(ask("What is an apple?")) == 0
    for question in ("Why is the sky blue?", "How do birds fly?"):
        assert shared - 10 < cached(ask(question)) < shared + 10


def test_several_continuations_of_one_prompt_compute_it_once(tiny: LlamaCppBackend, computed: list[int]) -> None:
    """All at once: the others wait for the first, and each has a seed of its own."""
    prompt = "a long beginning, " * 20
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda seed: tiny.generate(prompt, seed=seed, max_tokens=10, **ENDLESS), range(8)))
    assert len(set(answers)) == 8
    assert sorted(cached(answer) for answer in answers) == [0] + [length(answers[0]) - 1] * 7
    assert sum(computed) < length(answers[0]) + 8 * 10


def test_texts_are_the_same_cold_and_warm(tiny_gguf: Path, exact: dict[str, Any]) -> None:
    """Conversations that branch and meet again, against a backend that keeps nothing."""
    texts = ["one ", "two ", "three ", "four " * 9]
    prompts = [a + b + c for a in texts for b in texts for c in texts[:2]]
    with LlamaCppBackend() as warm, LlamaCppBackend() as cold:
        warm.load_model(tiny_gguf, exact)
        cold.load_model(tiny_gguf, {**exact, "prefix_cache": 0})
        reused = 0
        for number, prompt in enumerate(prompts):
            asked = {"max_tokens": 12, **ENDLESS, **({"temperature": 0} if number % 2 else {"seed": number})}
            expected = cold.generate(prompt, **asked)
            answer = warm.generate(prompt, **asked)
            assert answer == expected
            assert cached(expected) == 0
            reused += cached(answer)
    assert reused > len("".join(prompts)) / 3


def test_the_real_models_text_is_the_same_cold_and_warm(fresh: LlamaCppBackend) -> None:
    """A prompt whose answer has no token that is almost as good as another one."""
    prompt = " ".join(str(number) for number in range(1, 40))
    cold = fresh.generate(prompt, temperature=0, max_tokens=20, raw=True)
    warm = fresh.generate(prompt, temperature=0, max_tokens=20, raw=True)
    half = fresh.generate(prompt[:40], temperature=0, max_tokens=1, raw=True)
    again = fresh.generate(prompt, temperature=0, max_tokens=20, raw=True)
    assert cold == warm == again
    assert " 40 41 42" in cold
    assert [cached(cold), cached(warm), cached(again)] == [0, length(cold) - 1, length(cold) - 1]
    assert cached(half) == length(half) - 1


@pytest.mark.parametrize(
    "parameters", [{"temperature": 0}, {"seed": 5, "top_k": 3, "repetition_penalty": 1.01}], ids=repr
)
def test_guesses_change_no_text(tiny_gguf: Path, exact: dict[str, Any], parameters: dict[str, Any]) -> None:
    prompts = [f"{'abc' * 20}{number}" for number in range(8)]
    asked = {"max_tokens": 60, **ENDLESS, **parameters}
    with LlamaCppBackend() as plain, LlamaCppBackend() as guessing:
        plain.load_model(tiny_gguf, exact)
        guessing.load_model(tiny_gguf, {**exact, "prompt_lookup": 6})
        expected = [plain.generate(prompt, **asked) for prompt in prompts]
        assert [guessing.generate(prompt, **asked) for prompt in prompts] == expected
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda prompt: guessing.generate(prompt, **asked), prompts)) == expected


def test_guesses_save_steps_where_the_answer_repeats(gguf_model: Path, computed: list[int]) -> None:
    """The prompt has the numbers to come; without guesses each token takes a step."""
    numbers = " ".join(str(number) for number in range(1, 30))
    prompt = f"{numbers}\n{numbers[:20]}"
    asked: dict[str, Any] = {"temperature": 0, "max_tokens": 40, "raw": True}
    steps, answers = [], []
    for lookup in (0, 8):
        with LlamaCppBackend() as backend:
            backend.load_model(gguf_model, {"n_ctx": 512, "n_threads": 1, "n_ubatch": 32, "prompt_lookup": lookup})
            computed.clear()
            answers.append(backend.generate(prompt, asked))
            steps.append(len(computed))
    assert answers[0] == answers[1]
    assert answers[0].startswith(numbers[20:50])
    assert steps[0] >= 40
    assert steps[1] < steps[0] / 2
