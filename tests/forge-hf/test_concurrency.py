"""Threads, streams left half read, deadlines, and models that go away meanwhile."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from forge_hf import HuggingFaceBackend
from llamaforge.errors import GenerationError, GenerationTimeoutError, ModelNotLoadedError

NEVER_ENDS = {2: -100}
"""Forbids the end token."""


def test_threads_get_their_own_answers(tiny: HuggingFaceBackend) -> None:
    asked = [(f"Question {number % 6}", {"seed": number % 6, "max_tokens": 6 + number % 5}) for number in range(60)]
    alone = {repr(case): tiny.generate(case[0], case[1]) for case in asked}
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda case: tiny.generate(case[0], case[1]), asked, timeout=120))
    assert together == [alone[repr(case)] for case in asked]
    assert len(set(alone.values())) > 5


def test_a_stream_that_nobody_reads_holds_nobody_up(tiny: HuggingFaceBackend) -> None:
    with tiny.generate_stream("Hello", seed=1, max_tokens=100, logit_bias=NEVER_ENDS) as first:
        begun = next(first)
        assert tiny.generate("Other", seed=2, max_tokens=5)
        with tiny.generate_stream("Third", seed=3, max_tokens=5, logit_bias=NEVER_ENDS) as second:
            pieces = [begun, next(first), next(second), next(first), next(second)]
    assert all(pieces)


def test_streams_read_in_turn_are_what_they_are_alone(tiny: HuggingFaceBackend) -> None:
    def ask(seed: int) -> Any:
        return tiny.generate_stream("Hello", seed=seed, max_tokens=20, logit_bias=NEVER_ENDS)

    alone = [ask(seed).read() for seed in (1, 2)]
    streams = [ask(seed) for seed in (1, 2)]
    for _ in range(40):
        for stream in streams:
            next(stream, None)
    assert [stream.result for stream in streams] == alone


def test_leaving_a_stream_stops_the_model(tiny: HuggingFaceBackend, engine: Any, monkeypatch: Any) -> None:
    passes = []
    forward = engine._forward
    monkeypatch.setattr(engine, "_forward", lambda row, tokens: passes.append(row) or forward(row, tokens))
    with tiny.generate_stream("Hello", seed=1, max_tokens=200, logit_bias=NEVER_ENDS) as stream:
        next(stream)
        computed = len(passes)
    assert stream.result.finish_reason == "cancelled"
    assert len(passes) == computed
    assert passes[-1].cache is None
    assert tiny.generate("Again", seed=1, max_tokens=3)


def test_a_deadline_ends_a_long_prompt_between_two_pieces(tiny_model: Path, monkeypatch: Any) -> None:
    with HuggingFaceBackend() as backend:
        backend.load_model(tiny_model, {"device": "cpu", "n_batch": 4})
        engine: Any = backend._engine
        passes = []
        forward = engine._forward

        def slow(row: Any, tokens: Any) -> Any:
            passes.append(len(tokens))
            threading.Event().wait(0.05)
            return forward(row, tokens)

        monkeypatch.setattr(engine, "_forward", slow)
        with pytest.raises(GenerationTimeoutError):
            backend.generate("word " * 200, raw=True, timeout=0.2)
        assert 1 <= len(passes) < 20
        monkeypatch.setattr(engine, "_forward", forward)
        assert backend.generate("Hello", max_tokens=2, temperature=0, timeout=60)


def test_cancelling_ends_a_long_prompt_between_two_pieces(tiny_model: Path, monkeypatch: Any) -> None:
    with HuggingFaceBackend() as backend:
        backend.load_model(tiny_model, {"device": "cpu", "n_batch": 4})
        engine: Any = backend._engine
        stream = backend.generate_stream("word " * 200, raw=True)
        passes = []
        forward = engine._forward

        def watched(row: Any, tokens: Any) -> Any:
            passes.append(len(tokens))
            if len(passes) == 3:
                stream._control.cancel()
            return forward(row, tokens)

        monkeypatch.setattr(engine, "_forward", watched)
        assert stream.read().finish_reason == "cancelled"
        assert len(passes) == 3


def test_a_deadline_keeps_the_text_so_far(tiny: HuggingFaceBackend) -> None:
    stream = tiny.generate_stream("Hello", seed=1, max_tokens=200, logit_bias=NEVER_ENDS, timeout=0.5)
    text = next(stream)
    threading.Event().wait(0.6)
    with pytest.raises(GenerationTimeoutError) as caught:
        stream.read()
    assert caught.value.text.startswith(text)
    assert caught.value.timeout == 0.5


def test_unloading_under_a_stream_ends_it_with_an_error(tiny_model: Path) -> None:
    backend = HuggingFaceBackend()
    backend.load_model(tiny_model, {"device": "cpu"})
    stream = backend.generate_stream("Hello", seed=1, max_tokens=100, logit_bias=NEVER_ENDS)
    next(stream)
    backend.unload_model()
    with pytest.raises(ModelNotLoadedError):
        stream.read()
    with pytest.raises(ModelNotLoadedError):
        backend.generate("Hello")
    backend.load_model(tiny_model, {"device": "cpu"})
    assert backend.generate("Hello", seed=1, max_tokens=3)
    backend.close()


def test_unloading_gives_the_model_back(tiny_model: Path) -> None:
    backend = HuggingFaceBackend()
    backend.load_model(tiny_model, {"device": "cpu"})
    loaded: Any = backend._engine
    model = weakref.ref(loaded._model)
    weights = weakref.ref(loaded._model.lm_head.weight)
    backend.generate("Hello", seed=1, max_tokens=3)
    half_read = backend.generate_stream("Hello", seed=1, max_tokens=100, logit_bias=NEVER_ENDS)
    next(half_read)
    del loaded
    backend.unload_model()
    gc.collect()
    assert model() is None
    assert weights() is None
    half_read.close()


def test_the_device_running_out_of_memory_is_an_error_and_no_more(
    tiny: HuggingFaceBackend, engine: Any, monkeypatch: Any
) -> None:
    def full(module: Any, arguments: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    stream = tiny.generate_stream("Hello", seed=1, max_tokens=50, logit_bias=NEVER_ENDS)
    text = next(stream)
    hook = engine._model.model.layers[1].register_forward_pre_hook(full)
    try:
        with pytest.raises(GenerationError, match="not enough memory") as caught:
            stream.read()
    finally:
        hook.remove()
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    assert text
    assert tiny.generate("Hello", seed=1, max_tokens=5)


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
