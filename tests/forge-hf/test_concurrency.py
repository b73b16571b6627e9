"""Many callers, one model: each gets the answer that it gets alone."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from forge_hf import HuggingFaceBackend
from llamaforge.engine import Prompt
from llamaforge.errors import GenerationError, GenerationTimeoutError, ModelNotLoadedError
from support.processes import memory_held

NEVER_ENDS = {2: -100}
"""Forbids the end token."""
STORY = "The lamp burned all night, and the keeper read to the dog. "

Load = Callable[..., HuggingFaceBackend]


@pytest.fixture
def load(tiny_model: Path) -> Iterator[Load]:
    """Load the small model with other parameters."""
    made = []

    def loaded(**parameters: Any) -> HuggingFaceBackend:
        made.append(HuggingFaceBackend())
        made[-1].load_model(parameters.pop("path", tiny_model), {"device": "cpu", **parameters})
        return made[-1]

    yield loaded
    for backend in made:
        backend.close()


def at_once(backend: HuggingFaceBackend, asked: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """The answers to all, asked at the same moment."""
    start = threading.Barrier(len(asked))

    def ask(case: tuple[str, dict[str, Any]]) -> Any:
        start.wait(30)
        return backend.generate(case[0], case[1], raw=True)

    with ThreadPoolExecutor(len(asked)) as pool:
        return list(pool.map(ask, asked, timeout=120))


def widest(backend: HuggingFaceBackend, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each forward pass from now on."""
    engine: Any = backend._engine
    forward, seen = engine._rows._forward, []

    def watched(tokens: Any, *rest: Any, **more: Any) -> Any:
        seen.append(len(tokens))
        return forward(tokens, *rest, **more)

    watched.device = forward.device  # type: ignore[attr-defined]
    monkeypatch.setattr(engine._rows, "_forward", watched)
    return seen


def mixed_requests() -> list[tuple[str, dict[str, Any]]]:
    """Requests of all lengths, with all kinds of parameters."""
    kinds: list[dict[str, Any]] = [
        {"temperature": 0},
        {"seed": 5, "temperature": 0.9, "top_p": 0.8},
        {"seed": 6, "temperature": 1.3, "top_k": 20, "min_p": 0.01},
        {"temperature": 0, "repetition_penalty": 1.4},
        {"temperature": 0, "presence_penalty": 1.0, "frequency_penalty": 0.5},
        {"temperature": 0, "logprobs": True, "top_logprobs": 2},
        {"seed": 7, "logit_bias": {300: 12.0, **NEVER_ENDS}},
        {"temperature": 0, "stop": ["e", "\n"]},
    ]
    return [
        (STORY * (number % 3) + f"Number {number}: " + "word " * (7 * number % 40), {**kind, "max_tokens": 5 + number})
        for number, kind in enumerate(kinds)
    ]


def everything(answer: Any) -> Any:
    logprobs = [
        (each.token_id, pytest.approx(each.logprob, abs=1e-3), [top.token_id for top in each.top])
        for each in answer.logprobs
    ]
    return str(answer), answer.finish_reason, answer.stop, answer.usage.completion_tokens, logprobs


def test_requests_of_all_kinds_share_passes_and_each_gets_its_own_answer(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = load(prefix_cache=0)
    asked = mixed_requests()
    alone = [everything(backend.generate(prompt, parameters, raw=True)) for prompt, parameters in asked]
    passes = widest(backend, monkeypatch)
    together = [everything(answer) for answer in at_once(backend, asked)]
    assert together == alone
    assert max(passes) >= 4
    assert len({text for text, *_ in alone}) == len(alone)


def test_the_real_model_says_in_a_crowd_what_it_says_alone(hf_model: Path, load: Load) -> None:
    backend = load(path=hf_model, dtype="float32")
    questions = ["What is the capital of France?", "Name three fruits.", STORY * 6 + "\nWho read to whom?"]
    asked = [(backend.render(question), {"temperature": 0, "max_tokens": 8}) for question in questions]
    alone = [backend.generate(prompt, parameters, raw=True) for prompt, parameters in asked]
    assert at_once(backend, asked) == alone


def test_more_callers_than_rows(load: Load) -> None:
    backend = load(n_parallel=3)
    asked = [(f"Question {number % 6}", {"seed": number % 6, "max_tokens": 6 + number % 5}) for number in range(40)]
    alone = {repr(case): backend.generate(*case, raw=True) for case in asked}
    assert at_once(backend, asked) == [alone[repr(case)] for case in asked]
    assert len(set(alone.values())) > 5


def test_tasks_of_an_event_loop(tiny: HuggingFaceBackend) -> None:
    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(tiny.agenerate(f"Task {n}", seed=n, max_tokens=6) for n in range(12)))

    assert asyncio.run(all_at_once()) == [tiny.generate(f"Task {n}", seed=n, max_tokens=6) for n in range(12)]


def test_a_stream_that_nobody_reads_holds_nobody_up(tiny: HuggingFaceBackend) -> None:
    with tiny.generate_stream("Hello", seed=1, max_tokens=100, logit_bias=NEVER_ENDS) as first:
        begun = next(first)
        assert tiny.generate("Other", seed=2, max_tokens=5)
        with tiny.generate_stream("Third", seed=3, max_tokens=5, logit_bias=NEVER_ENDS) as second:
            pieces = [begun, next(first), next(second), next(first), next(second)]
    assert all(pieces)


class TestPrefixes:
    @pytest.mark.parametrize("kind", ["llama", "sliding"])
    def test_the_second_turn_starts_after_the_first_and_says_the_same(
        self, load: Load, tiny_model: Path, sliding_model: Path, kind: str
    ) -> None:
        path = tiny_model if kind == "llama" else sliding_model
        warm, cold = load(path=path), load(path=path, prefix_cache=0)
        assert warm.one_at_a_time is None
        turns = [{"role": "user", "content": STORY}]
        for number in range(3):
            answers = [backend.chat(turns, temperature=0, max_tokens=10) for backend in (warm, cold)]
            assert answers[0] == answers[1]
            usage = [answer.usage for answer in answers]
            assert usage[1].cached_tokens == 0
            assert number == 0 or usage[0].cached_tokens >= usage[0].prompt_tokens // 3
            turns += [{"role": "assistant", "content": str(answers[0])}, {"role": "user", "content": "Go on."}]

    def test_several_continuations_of_one_prompt_at_once(self, load: Load) -> None:
        warm, cold = load(), load(prefix_cache=0, n_parallel=1)
        asked = [(STORY * 5 + f"Ending {number}", {"seed": number, "max_tokens": 6}) for number in range(6)]
        answers = at_once(warm, asked)
        assert answers == [cold.generate(*case, raw=True) for case in asked]
        shared = len(warm._engine.vocabulary.encode(STORY * 5)) - 1  # type: ignore[union-attr]
        assert sum(answer.usage.cached_tokens >= shared for answer in answers) >= 5


@pytest.mark.parametrize(
    "parameters", [{"temperature": 0}, {"seed": 3, "temperature": 0.3}, {"temperature": 0, "frequency_penalty": 0.2}]
)
def test_guesses_change_nothing(load: Load, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any]) -> None:
    plain, guessing = load(), load(prompt_lookup=6)
    # The bias makes the model repeat itself, so that there is something to guess.
    asked = {**parameters, "max_tokens": 40, "logit_bias": {100: 60.0, 101: 59.5, 102: 59.0, **NEVER_ENDS}}
    without, with_guesses = widest(plain, monkeypatch), widest(guessing, monkeypatch)
    expected = plain.generate(STORY * 2, asked, raw=True, logprobs=True)
    answer = guessing.generate(STORY * 2, asked, raw=True, logprobs=True)
    assert everything(answer) == everything(expected)
    assert len(with_guesses) < len(without)


def test_guesses_of_several_callers_at_once(load: Load) -> None:
    backend, plain = load(prompt_lookup=4), load()
    asked = [(STORY * 3 + "The lamp", {**parameters, "max_tokens": 20}) for _, parameters in mixed_requests()]
    assert [everything(each) for each in at_once(backend, asked)] == [
        everything(plain.generate(*case, raw=True)) for case in asked
    ]


class TestLeaving:
    def test_a_stream_that_is_left_stops_the_model(self, tiny: HuggingFaceBackend, monkeypatch: Any) -> None:
        passes = widest(tiny, monkeypatch)
        with tiny.generate_stream("Hello", seed=1, max_tokens=200, logit_bias=NEVER_ENDS) as stream:
            next(stream)
        computed = len(passes)
        assert stream.result.finish_reason == "cancelled"
        assert tiny.generate("Again", temperature=0, max_tokens=1, raw=True) is not None
        assert len(passes) <= computed + 2, "one step may have been under way"

    @pytest.mark.parametrize("by", ["cancel", "deadline"])
    def test_a_long_prompt_is_given_up_between_two_steps(self, load: Load, monkeypatch: Any, by: str) -> None:
        backend = load(n_batch=4)
        engine: Any = backend._engine
        compute, steps = engine.compute, []
        deadline = {"timeout": 0.3} if by == "deadline" else {}
        stream = backend.generate_stream("word " * 200, raw=True, **deadline)

        def slow(entries: Any) -> Any:
            steps.append(len(entries))
            if by == "cancel" and len(steps) == 3:
                stream._cancellation.cancel()
            elif by == "deadline":
                threading.Event().wait(0.05)
            return compute(entries)

        monkeypatch.setattr(engine, "compute", slow)
        if by == "deadline":
            with pytest.raises(GenerationTimeoutError):
                stream.read()
        else:
            assert stream.read().finish_reason == "cancelled"
        monkeypatch.setattr(engine, "compute", compute)
        assert backend.generate("Hello", max_tokens=2, temperature=0, timeout=60)
        assert 1 <= len(steps) < 20

    def test_one_who_leaves_alone_breaks_the_pass_off(self, load: Load) -> None:
        backend = load()
        engine: Any = backend._engine
        stream = backend.generate_stream("word " * 100, raw=True, max_tokens=5)
        reached = []

        def leave(module: Any, arguments: Any) -> None:
            reached.append("first layer")
            stream._cancellation.cancel()

        hooks = [
            engine._model.model.layers[0].register_forward_pre_hook(leave),
            engine._model.lm_head.register_forward_pre_hook(lambda *_: reached.append("head")),
        ]
        assert stream.read().finish_reason == "cancelled"
        for hook in hooks:
            hook.remove()
        assert reached == ["first layer"]
        assert backend.generate("Hello", seed=1, max_tokens=3)

    def test_a_deadline_keeps_the_text_so_far(self, tiny: HuggingFaceBackend, monkeypatch: Any) -> None:
        engine: Any = tiny._engine
        compute = engine.compute
        monkeypatch.setattr(engine, "compute", lambda entries: threading.Event().wait(0.02) or compute(entries))
        stream = tiny.generate_stream("Hello", seed=1, max_tokens=200, logit_bias=NEVER_ENDS, timeout=1)
        text = next(stream)
        with pytest.raises(GenerationTimeoutError) as caught:
            stream.read()
        assert caught.value.text.startswith(text)
        assert caught.value.timeout == 1


class TestUnloading:
    def test_what_is_under_way_ends_with_an_error(self, load: Load, tiny_model: Path) -> None:
        backend = load()
        streams = [backend.generate_stream("Hello", seed=n, max_tokens=200, logit_bias=NEVER_ENDS) for n in range(3)]
        for stream in streams:
            next(stream)
        backend.unload_model()
        for stream in streams:
            with pytest.raises(ModelNotLoadedError):
                stream.read()
        with pytest.raises(ModelNotLoadedError):
            backend.generate("Hello")
        backend.load_model(tiny_model, {"device": "cpu"})
        assert backend.generate("Hello", seed=1, max_tokens=3)

    def test_or_is_waited_for(self, load: Load) -> None:
        backend = load()
        begun = threading.Semaphore(0)

        def ask(seed: int) -> Any:
            with backend.generate_stream("Hello", seed=seed, max_tokens=30, logit_bias=NEVER_ENDS) as stream:
                next(stream)
                begun.release()
                return stream.read()

        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(ask, seed) for seed in range(4)]
            for _ in answers:
                assert begun.acquire(timeout=30)
            backend.unload_model(wait=True)
            assert not backend.is_model_loaded()
            assert [answer.result(30).usage.completion_tokens for answer in answers] == [30] * 4

    def test_the_model_goes(self, load: Load) -> None:
        backend = load()
        loaded: Any = backend._engine
        model, weights = weakref.ref(loaded._model), weakref.ref(loaded._model.lm_head.weight)
        cache = weakref.ref(loaded._rows._cache)
        backend.generate("Hello", seed=1, max_tokens=3)
        half_read = backend.generate_stream("Hello", seed=1, max_tokens=100, logit_bias=NEVER_ENDS)
        next(half_read)
        del loaded
        backend.unload_model()
        gc.collect()
        assert (model(), weights(), cache()) == (None, None, None)
        half_read.close()

    def test_ten_cycles_take_no_more_memory_than_two(self, load: Load, tiny_model: Path) -> None:
        backend = load()
        used = []
        for _ in range(10):
            backend.load_model(tiny_model, {"device": "cpu"})
            at_once(backend, [(STORY * 3, {"seed": n, "max_tokens": 5}) for n in range(4)])
            backend.unload_model()
            used.append(memory_held())
        assert used[-1] < used[1] * 1.05


class TestFailing:
    def test_a_failure_of_the_engine_reaches_all_and_the_next_requests_work(
        self, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = load()
        engine: Any = backend._engine
        alone = backend.generate("Hello", temperature=0, max_tokens=5)
        streams = [backend.generate_stream("Hi", seed=n, max_tokens=200, logit_bias=NEVER_ENDS) for n in range(3)]
        for stream in streams:
            next(stream)
        hook = engine._model.model.layers[1].register_forward_pre_hook(fails(RuntimeError("a kernel failed")))
        for stream in streams:
            with pytest.raises(GenerationError, match="a kernel failed"):
                stream.read()
        hook.remove()
        assert backend.generate("Hello", temperature=0, max_tokens=5) == alone

    def test_without_memory_for_one_it_is_an_error_and_no_more(self, load: Load) -> None:
        backend = load()
        engine: Any = backend._engine
        stream = backend.generate_stream("Hello", seed=1, max_tokens=200, logit_bias=NEVER_ENDS)
        assert next(stream)
        hook = engine._model.model.layers[1].register_forward_pre_hook(fails(torch.OutOfMemoryError("no memory")))
        with pytest.raises(GenerationError, match="too little memory") as caught:
            stream.read()
        hook.remove()
        assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
        assert backend.generate("Hello", seed=1, max_tokens=5)

    def test_without_memory_for_all_the_newest_waits(self, load: Load) -> None:
        backend = load()
        engine: Any = backend._engine
        asked = [(STORY + str(number), {"seed": number, "max_tokens": 12}) for number in range(5)]
        alone = [backend.generate(*case, raw=True) for case in asked]

        def little(module: Any, arguments: Any) -> None:
            if len(arguments[0]) > 2:
                raise torch.OutOfMemoryError("no memory for three rows")

        hook = engine._model.model.layers[1].register_forward_pre_hook(little)
        assert at_once(backend, asked) == alone
        hook.remove()

    def test_tokens_that_the_model_lacks_fail_alone(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        backend = load()
        engine: Any = backend._engine
        tokenize = engine.tokenize
        monkeypatch.setattr(engine, "tokenize", lambda request: Prompt([*tokenize(request).token_ids, 10**6]))
        with pytest.raises(GenerationError, match="don't belong together"):
            backend.generate("Hello")
        monkeypatch.undo()
        assert backend.generate("Hello", seed=1, max_tokens=2)


@pytest.fixture(scope="session")
def sliding_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose layers look at the last 16 tokens, but for every second one."""
    return make_other(tiny_model, tmp_path_factory.mktemp("sliding"), "gemma3_text", sliding_window=16, head_dim=16)


@pytest.fixture(scope="session")
def recurrent_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a recurrent state."""
    return make_other(tiny_model, tmp_path_factory.mktemp("recurrent"), "mamba", state_size=8)


def test_models_with_windows_share_passes(load: Load, sliding_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = load(path=sliding_model, prefix_cache=0)
    asked = [(STORY * n, {"temperature": 0, "max_tokens": 8, "logit_bias": NEVER_ENDS}) for n in (1, 3, 2, 6)]
    alone = [backend.generate(*case, raw=True) for case in asked]
    passes = widest(backend, monkeypatch)
    assert at_once(backend, asked) == alone
    assert max(passes) > 1


def test_recurrent_models_take_requests_in_turn_and_say_so(load: Load, recurrent_model: Path) -> None:
    backend = load(path=recurrent_model, n_batch=16, prompt_lookup=4)
    assert "LinearAttention" in str(backend.one_at_a_time)
    asked = [(STORY * n, {"temperature": 0, "max_tokens": 8, "logit_bias": NEVER_ENDS}) for n in (1, 3, 2)]
    alone = [backend.generate(*case, raw=True) for case in asked]
    assert at_once(backend, asked) == alone
    longer = backend.generate(STORY * 3 + str(alone[1]), temperature=0, max_tokens=4, raw=True)
    with load(path=recurrent_model, prefix_cache=0) as cold:
        assert cold.generate(STORY * 3 + str(alone[1]), temperature=0, max_tokens=4, raw=True) == longer


def test_without_a_model_nothing_is_said_of_it() -> None:
    assert HuggingFaceBackend().one_at_a_time is None


def test_torchs_settings_and_random_numbers_stay(tiny: HuggingFaceBackend) -> None:
    torch.manual_seed(7)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    stream = tiny.generate_stream("Hello", seed=1, max_tokens=5)
    next(stream)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    stream.read()
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads
    assert torch.get_default_dtype() == torch.float32


def fails(error: Exception) -> Any:
    def hook(module: Any, arguments: Any) -> None:
        raise error

    return hook


def make_other(tiny_model: Path, folder: Path, kind: str, **settings: Any) -> Path:
    """A small random model of another architecture under the same tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    config = AutoConfig.for_model(
        kind,
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "initializer_range": 0.4,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            **settings,
        },
    )
    if kind == "gemma3_text":
        config.layer_types = ["sliding_attention", "full_attention"] * 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        AutoModelForCausalLM.from_config(config).float().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
