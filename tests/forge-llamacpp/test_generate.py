"""Answers of the real model: text, counts, reasons, and that the parameters are honoured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forge_llamacpp import LlamaCppBackend
from forge_llamacpp.engine import LlamaCppEngine
from llamaforge.errors import (
    ConstraintError,
    ContextOverflowError,
    EmptyPromptError,
    InvalidParameterError,
)
from llamaforge.results import Finished, TextDelta, Usage
from support.llama_engine import engine_of, logits_after, tokens_of

ASK = "Name three colours."
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 24}


def test_an_answer_knows_how_it_came_about(backend: LlamaCppBackend) -> None:
    answer = backend.generate(ASK, temperature=0, max_tokens=400)
    assert "blue" in answer.lower()
    assert answer.finish_reason == "stop"
    assert answer.stop is None
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens < 400
    assert answer.usage.prompt_tokens == len(tokens_of(backend, backend.render(ASK)))
    assert "<|im_end|>" not in answer
    assert answer.timings.queued is not None
    assert answer.timings.first_token is not None


def test_greedy_answers_are_the_same_again(backend: LlamaCppBackend) -> None:
    first = backend.generate(ASK, GREEDY)
    backend.generate("Something else.", GREEDY)
    assert backend.generate(ASK, GREEDY) == first
    assert backend.generate(ASK, temperature=1.5, top_k=1, max_tokens=24) == first


def test_a_seed_gives_the_same_answer_again_and_others_differ(backend: LlamaCppBackend) -> None:
    def answer(seed: int) -> str:
        return backend.generate(ASK, temperature=1.2, max_tokens=8, seed=seed)

    assert answer(1) == answer(1)
    assert answer(2**32 - 1) == answer(2**32 - 1)
    assert len({answer(seed) for seed in range(4)}) > 1
    drawn = backend.generate(ASK, temperature=1.2, max_tokens=8)
    assert answer(drawn.parameters["seed"]) == drawn


def test_the_seed_of_the_model_serves_requests_that_give_none(tiny_gguf: Path, empty: LlamaCppBackend) -> None:
    empty.load_model(tiny_gguf, {"seed": 11, "n_threads": 1})
    first = empty.generate("x", max_tokens=30)
    assert first.parameters["seed"] == 11
    assert empty.generate("x", max_tokens=30) == first == empty.generate("x", max_tokens=30, seed=11)
    assert empty.generate("x", max_tokens=30, seed=12) != first


@pytest.mark.parametrize("more", [GREEDY, {"seed": 5, "max_tokens": 30}, {"seed": 5, "max_tokens": 30, "stop": [" a"]}])
def test_a_stream_is_the_answer(backend: LlamaCppBackend, more: dict[str, Any]) -> None:
    whole = backend.generate(ASK, more)
    stream = backend.generate_stream(ASK, more)
    pieces = list(stream)
    assert "".join(pieces) == whole
    assert all(pieces)
    assert (stream.result.usage, stream.result.finish_reason) == (whole.usage, whole.finish_reason)


def test_events_are_text_and_then_one_end(backend: LlamaCppBackend) -> None:
    *deltas, end = backend.generate_stream(ASK, GREEDY).events()
    assert all(isinstance(event, TextDelta) and event.text for event in deltas)
    assert isinstance(end, Finished)


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_max_tokens_is_exact(backend: LlamaCppBackend, limit: int) -> None:
    answer = backend.generate(ASK, temperature=0, max_tokens=limit)
    assert answer.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == limit


def test_a_stop_string_ends_the_answer_wherever_tokens_split_it(backend: LlamaCppBackend) -> None:
    whole = str(backend.generate(ASK, GREEDY))
    for begin in (0, 3, 8, 13):
        for length in (1, 9):
            stop = whole[begin : begin + length]
            stream = backend.generate_stream(ASK, **GREEDY, stop=[stop, "never there"])
            pieces = list(stream)
            expected = whole[: whole.index(stop)]
            assert "".join(pieces) == expected == stream.result
            assert (stream.result.finish_reason, stream.result.stop) == ("stop", stop)


def test_what_only_begins_like_a_stop_string_comes_out(backend: LlamaCppBackend) -> None:
    whole = backend.generate(ASK, GREEDY)
    held = whole[-4:] + "and something that never comes"
    answer = backend.generate(ASK, **GREEDY, stop=held)
    assert answer == whole
    assert answer.finish_reason == "length"


def test_characters_are_whole_though_tokens_are_not(backend: LlamaCppBackend) -> None:
    prefix = "\U0001f600\U0001f680\U0001f389" * 6
    messages = [{"role": "user", "content": "Only emojis."}, {"role": "assistant", "content": prefix}]
    stream = backend.chat_stream(messages, temperature=0, max_tokens=24)  # three tokens each
    pieces = list(stream)
    text = "".join(pieces)
    assert any(ord(character) > 0xFFFF for character in text)
    assert "\ufffd" not in text
    assert stream.result.usage is not None
    assert len(pieces) < stream.result.usage.completion_tokens


def test_bytes_that_are_no_text_become_replacement_characters(tiny_gguf: Path, empty: LlamaCppBackend) -> None:
    """Its tokens are single bytes: pieces are cut anywhere, and the whole is what all bytes at once would be."""
    empty.load_model(tiny_gguf, {"n_threads": 1})
    for seed in range(5):
        answer = empty.generate("x", seed=seed, max_tokens=200, logprobs=True)
        vocabulary = engine_of(empty)._vocabulary
        raw = b"".join(vocabulary.token_bytes(each.token_id) for each in answer.logprobs if each.token_id is not None)
        assert raw.decode("utf-8", "replace") == answer


def test_a_last_assistant_turn_is_continued(backend: LlamaCppBackend) -> None:
    whole = backend.generate(ASK, GREEDY)
    cut = whole.index(" ", 8)
    messages = [{"role": "user", "content": ASK}, {"role": "assistant", "content": whole[:cut]}]
    rendered = backend.render(messages=messages)
    assert rendered == backend.render(ASK) + whole[:cut]
    rest = backend.chat(messages, temperature=0, max_tokens=6)
    assert (whole[:cut] + rest)[: cut + 10] == whole[: cut + 10]


def test_raw_sends_the_text_as_it_stands(backend: LlamaCppBackend) -> None:
    rendered = backend.render(ASK)
    assert backend.render("x <|im_end|>", parameters={"raw": True}) == "x <|im_end|>"
    assert backend.generate(rendered, **GREEDY, raw=True) == backend.generate(ASK, GREEDY)
    whole = backend.generate("one, two, three, four,", temperature=0, max_tokens=4, raw=True)
    assert "five" in whole


def test_a_chat_has_a_memory(backend: LlamaCppBackend) -> None:
    answer = backend.chat(
        [
            {"role": "system", "content": "You answer with one word."},
            {"role": "user", "content": "My cat is called Minka. Say Minka."},
            {"role": "assistant", "content": "Minka"},
            {"role": "user", "content": "What is my cat called?"},
        ],
        temperature=0,
        max_tokens=20,
    )
    assert "Minka" in answer


def test_repetition_penalties_change_the_answer(backend: LlamaCppBackend) -> None:
    text = " ".join(["one two three"] * 6)

    def count(**penalties: float) -> int:
        return backend.generate(text, penalties, temperature=0, max_tokens=24, raw=True).count("two")

    assert count() > 5
    assert count(repetition_penalty=1.8) <= 1
    assert count(repeat_penalty=1.8) <= 1
    # These two know nothing of the prompt, only what the answer itself repeats.
    assert 1 <= count(presence_penalty=2.0) < 5
    assert 1 <= count(frequency_penalty=2.0) < 5


def test_a_bias_forces_and_forbids(backend: LlamaCppBackend) -> None:
    blue = tokens_of(backend, " blue")[0]
    assert backend.generate(ASK, temperature=0, max_tokens=3, logit_bias={blue: 100}) == " blue blue blue"
    assert backend.generate(ASK, temperature=0, max_tokens=2, logit_bias={str(blue): 100}) == " blue blue"
    first = backend.generate(ASK, temperature=0, max_tokens=1, logprobs=True).logprobs[0].token_id
    assert first is not None
    other = backend.generate(ASK, temperature=0, max_tokens=1, logprobs=True, logit_bias={first: -100}).logprobs[0]
    assert other.token_id != first


@pytest.mark.parametrize("token", [-1, 49152, 2**40])
def test_a_bias_on_no_token_is_refused(backend: LlamaCppBackend, token: int) -> None:
    with pytest.raises(InvalidParameterError, match="49151") as caught:
        backend.generate(ASK, logit_bias={token: 1})
    assert caught.value.name == "logit_bias"


def test_logprobs_are_those_of_the_model_itself(backend: LlamaCppBackend, engine: LlamaCppEngine) -> None:
    """Log-softmax of the raw logits, whatever the sampling does."""
    answer = backend.generate(
        ASK, seed=3, temperature=1.7, top_k=50, max_tokens=6, logprobs=True, top_logprobs=5, repetition_penalty=1.3
    )
    tokens = tokens_of(backend, backend.render(ASK))
    after = logits_after(engine, tokens)
    assert len(answer.logprobs) == 6
    for position, each in enumerate(answer.logprobs, len(tokens)):
        logits = after.astype(np.float64)
        expected = logits - (logits.max() + math.log(np.exp(logits - logits.max()).sum()))
        assert each.token_id is not None
        assert each.logprob == pytest.approx(expected[each.token_id], abs=1e-4)
        best = np.argsort(-expected)[:5]
        assert [top.token_id for top in each.top] == best.tolist()
        assert [top.logprob for top in each.top] == pytest.approx(expected[best].tolist(), abs=1e-4)
        after = logits_after(engine, [each.token_id], start=position)
    engine.trim(0, 0)
    assert "".join(each.token for each in answer.logprobs) == answer


def test_logprobs_come_with_every_token_though_its_text_is_held_back(backend: LlamaCppBackend) -> None:
    whole = backend.generate(ASK, GREEDY)
    stop = whole[5:] + "!"
    stream = backend.generate_stream(ASK, **GREEDY, stop=stop, logprobs=True)
    deltas = [event for event in stream.events() if isinstance(event, TextDelta)]
    assert stream.result == whole
    assert len(stream.result.logprobs) == GREEDY["max_tokens"]
    assert any(not delta.text and delta.logprobs for delta in deltas)
    assert not any(each.top for each in stream.result.logprobs)


def test_a_prompt_that_fills_the_context_is_refused_with_both_counts(tiny_gguf: Path, empty: LlamaCppBackend) -> None:
    """llama.cpp itself rounds a context up to 256 tokens; what was asked for is what holds."""
    empty.load_model(tiny_gguf, {"n_ctx": 40, "n_threads": 1})
    with pytest.raises(ContextOverflowError, match="n_ctx") as caught:
        empty.generate_stream("x" * 40, raw=True)
    assert (caught.value.prompt_tokens, caught.value.context_size) == (40, 40)
    last = empty.generate("x" * 39, raw=True, seed=1)
    assert last.usage == Usage(prompt_tokens=39, completion_tokens=1, cached_tokens=0)
    assert last.finish_reason == "length"
    full = empty.generate("y" * 10, raw=True, seed=1, max_tokens=1000, logit_bias={256: -100})
    assert full.usage == Usage(prompt_tokens=10, completion_tokens=30)
    assert full.finish_reason == "length"


def test_a_long_prompt_is_read_in_batches(tiny_gguf: Path, empty: LlamaCppBackend) -> None:
    prompt = "All work and no play makes Jack a dull boy. " * 8
    answers = set()
    for n_batch, n_ubatch in [(512, 512), (512, 8), (100, 32), (7, 512), (1, 1)]:
        empty.load_model(tiny_gguf, {"n_batch": n_batch, "n_ubatch": n_ubatch, "n_threads": 1})
        answers.add(str(empty.generate(prompt, temperature=0, max_tokens=12)))
    assert len(answers) == 1


@pytest.mark.parametrize("prompt", ["half \ud83d a pair", "\udfff"])
def test_text_that_has_no_utf8_is_refused(backend: LlamaCppBackend, prompt: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        backend.generate(prompt)
    assert caught.value.name == "prompt"
    with pytest.raises(InvalidParameterError) as caught:
        backend.chat([{"role": "user", "content": prompt}])
    assert caught.value.name == "messages"


def test_odd_prompts_are_just_text(backend: LlamaCppBackend) -> None:
    for prompt in ("\x00", "a\x00b", "\ufffd\ufeff", "\u202e\u0301", "x" * 300, "{{ 1/0 }}"):
        answer = backend.generate(prompt, temperature=0, max_tokens=2)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens == len(tokens_of(backend, backend.render(prompt)))


def test_a_prompt_without_tokens_is_empty(empty: LlamaCppBackend, tiny_gguf: Path) -> None:
    empty.load_model(tiny_gguf, {"n_threads": 1, "chat_template": "{{ messages[0].content }}"})
    with pytest.raises(EmptyPromptError):
        empty.chat([{"role": "user", "content": ""}])


@pytest.mark.parametrize(
    ("parameters", "feature"),
    [({"grammar": "root ::= 'a'"}, "grammar"), ({"response_format": {"type": "xml"}}, "response_format")],
)
def test_a_wrong_constraint_is_refused(backend: LlamaCppBackend, parameters: dict[str, Any], feature: str) -> None:
    with pytest.raises(ConstraintError, match=feature):
        backend.generate(ASK, parameters)


@pytest.mark.parametrize(("adds", "prompt", "count"), [(True, "x", 1), (True, "<|begin|>x", 1), (False, "x", 0)])
def test_there_is_exactly_one_bos(
    empty: LlamaCppBackend, plain_gguf: Path, adds: bool, prompt: str, count: int
) -> None:
    empty.load_model(plain_gguf, {"n_threads": 1, "kv_overrides": {"tokenizer.ggml.add_bos_token": adds}})
    assert [token == 257 for token in tokens_of(empty, prompt)].count(True) == count
    template = "{{ bos_token }}{{ messages[0].content }}"
    overrides = {"tokenizer.ggml.add_bos_token": adds}
    empty.load_model(plain_gguf, {"n_threads": 1, "kv_overrides": overrides, "chat_template": template})
    assert empty.render("x") == "<|begin|>x"
    assert tokens_of(empty, empty.render("x")) == [257, ord("x")]
