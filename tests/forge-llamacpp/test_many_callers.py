"""Many callers at once: everybody gets the answer that they would get alone, and nobody waits for a stranger."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp as lib

from forge_llamacpp import LlamaCppBackend
from llamaforge.errors import GenerationError, GenerationTimeoutError, ModelNotLoadedError, QueueFullError

ENDLESS: dict[str, Any] = {"raw": True, "logit_bias": {256: -100}}
LONG = "All work and no play makes Jack a dull boy. " * 60


def requests(count: int) -> list[dict[str, Any]]:
    """Greedy and sampled ones, of different lengths, each with a prompt of its own."""
    sampled = {"temperature": 1.3, "top_p": 0.95, "repetition_penalty": 1.2, "presence_penalty": 0.3}
    return [
        {
            "prompt": f"{number} {'xyz' * (number % 40)}",
            "max_tokens": 5 + number * 7 % 40,
            **ENDLESS,
            **({"temperature": 0} if number % 2 else {**sampled, "seed": number}),
        }
        for number in range(count)
    ]


def started(backend: LlamaCppBackend, prompt: str, **parameters: Any) -> tuple[threading.Thread, list[Any], Any]:
    """A request in a thread of its own."""
    outcome: list[Any] = []
    stream = backend.generate_stream(prompt, **parameters)

    def work() -> None:
        try:
            outcome.append(stream.read())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, outcome, stream


def until(condition: Callable[[], Any]) -> None:
    while not condition():
        time.sleep(0.001)


def computing(backend: LlamaCppBackend) -> Callable[[], bool]:
    """Whether a step is under way."""
    scheduler = backend._scheduler
    assert scheduler is not None
    return lambda: bool(scheduler._computing)


class Decodes:
    """Counts steps, and what is in them, on their way to llama.cpp."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: Callable[[], bool] | None = None) -> None:
        self.tokens: list[int] = []
        self.codes: list[int] = []
        decode = lib.llama_decode

        def watching(context: Any, batch: Any) -> int:
            self.tokens.append(batch.n_tokens)
            failing = fails is not None and -3 not in self.codes and fails()
            code = -3 if failing else int(decode(context, batch))
            self.codes.append(code)
            return code

        monkeypatch.setattr(lib, "llama_decode", watching)


def test_everybody_gets_the_answer_that_they_would_get_alone(tiny: LlamaCppBackend) -> None:
    """Greedy texts and seeds alike, whatever else is in the batch."""
    asked = requests(48)
    alone = [tiny.generate(**each) for each in asked]
    assert len(set(alone)) > 40
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda each: tiny.generate(**each), asked * 2))
    assert together == alone * 2
    for each, answer in zip(asked * 2, together, strict=True):
        assert answer.usage is not None
        assert answer.usage.completion_tokens == each["max_tokens"]


def test_eight_at_once_take_the_steps_of_one(tiny: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    decodes = Decodes(monkeypatch)
    barrier = threading.Barrier(8)

    def ask(number: int) -> str:
        barrier.wait()
        return tiny.generate(f"{number}", max_tokens=200, temperature=0, **ENDLESS)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    assert max(decodes.tokens) >= 8
    assert len(decodes.tokens) < 800  # one after another they would be 1600


def test_many_threads_on_the_real_model(backend: LlamaCppBackend) -> None:
    """Answers whose tokens are each twice as probable as the next best, at least: what this model's four bits round
    differently in company does not show."""
    asked = [
        {"prompt": "1 2 3 4 5 6 7 8 9 10 11", "raw": True, "max_tokens": 16},
        {"prompt": "Count from 1 to 20.", "max_tokens": 16},
        {"prompt": "What is 2+2?", "max_tokens": 11},
    ]
    alone = [backend.generate(**each, temperature=0) for each in asked]
    assert [" 12 13" in alone[0], "1. 1\n2. 2" in alone[1], "4" in alone[2]] == [True] * 3
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda each: backend.generate(**each, temperature=0), asked * 4)) == alone * 4


def test_streams_read_side_by_side_in_one_thread(tiny: LlamaCppBackend) -> None:
    """Nobody has to finish a stream before opening the next one, and none is changed by the others."""
    asked = requests(6)
    alone = [tiny.generate(**each) for each in asked]
    streams = [tiny.generate_stream(**each) for each in asked]
    texts = [""] * len(asked)
    for _ in range(50):
        for index, stream in enumerate(streams):
            texts[index] += next(stream, "")
    assert texts == alone
    assert [stream.result.finish_reason for stream in streams] == [answer.finish_reason for answer in alone]


async def test_event_loops_are_served_too(tiny: LlamaCppBackend) -> None:
    asked = requests(12)
    expected = [tiny.generate(**each) for each in asked]
    assert await asyncio.gather(*(tiny.agenerate(**each) for each in asked)) == expected
    task = asyncio.create_task(tiny.agenerate("a", **ENDLESS, max_tokens=480))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await tiny.agenerate(**asked[0]) == expected[0]


@pytest.mark.parametrize("leave", ["close", "with", "drop"])
def test_leaving_a_stream_frees_its_place(tiny_gguf: Path, leave: str) -> None:
    with LlamaCppBackend() as backend:
        backend.load_model(tiny_gguf, {"n_threads": 1, "n_parallel": 1})
        for _ in range(5):
            if leave == "with":
                with backend.generate_stream("a", **ENDLESS) as stream:
                    next(stream)
                assert stream.result.finish_reason == "cancelled"
            else:
                stream = backend.generate_stream("a", **ENDLESS)
                next(stream)
                if leave == "close":
                    stream.close()
                else:
                    del stream
                    gc.collect()
            assert backend.generate("b", max_tokens=5, **ENDLESS)


def test_cancelling_breaks_off_a_long_prompt(fresh: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a step, where nobody else is in it."""
    expected = fresh.generate("Hi", temperature=0, max_tokens=3)
    decodes = Decodes(monkeypatch)
    thread, outcome, stream = started(fresh, LONG, temperature=0, max_tokens=50)
    until(computing(fresh))
    time.sleep(0.05)
    stream.close()
    thread.join()
    until(lambda: not computing(fresh)())
    assert outcome[0].finish_reason == "cancelled"
    assert outcome[0] == ""
    assert decodes.codes[-1] == 2
    assert len(decodes.tokens) <= 3  # of five
    assert fresh.generate("Hi", temperature=0, max_tokens=3) == expected


def test_cancelling_one_leaves_the_others_alone(tiny: LlamaCppBackend) -> None:
    expected = tiny.generate("a", max_tokens=300, temperature=0, **ENDLESS)
    thread, outcome, _ = started(tiny, "a", max_tokens=300, temperature=0, **ENDLESS)
    for number in range(20):
        with tiny.generate_stream(f"{number}", **ENDLESS) as stream:
            next(stream)
    thread.join()
    assert outcome == [expected]


def test_a_deadline_ends_a_long_prompt(fresh: LlamaCppBackend) -> None:
    expected = fresh.generate("Hi", temperature=0, max_tokens=3)
    with pytest.raises(GenerationTimeoutError):
        fresh.generate(LONG, temperature=0, timeout=0.02)
    assert fresh.generate("Hi", temperature=0, max_tokens=3) == expected


def test_a_queue_that_is_full_says_so(tiny_gguf: Path) -> None:
    with LlamaCppBackend() as backend:
        backend.load_model(tiny_gguf, {"n_threads": 1, "n_parallel": 1, "max_queue": 1})
        with backend.generate_stream("a", **ENDLESS) as running:
            next(running)
            thread, outcome, _ = started(backend, "b", max_tokens=2, **ENDLESS)
            until(lambda: backend._scheduler is not None and len(backend._scheduler._waiting) == 1)
            with pytest.raises(QueueFullError):
                backend.generate("c", max_tokens=2, **ENDLESS)
        thread.join()
        assert outcome[0].finish_reason == "length"
        assert outcome[0].timings.queued > 0


def test_a_full_cache_puts_requests_back_and_spoils_none(
    tiny_gguf: Path, exact: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six answers of 200 tokens want 1,300 cells; there are 256."""
    asked = [{"prompt": f"{number}" * 10, "max_tokens": 200, **ENDLESS} for number in range(6)]
    for number, each in enumerate(asked):
        each |= {"temperature": 0} if number % 2 else {"seed": number, "repetition_penalty": 1.3}
    with LlamaCppBackend() as backend:
        backend.load_model(tiny_gguf, {**exact, "n_ctx": 256})
        alone = [backend.generate(**each) for each in asked]
        decodes = Decodes(monkeypatch)
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(lambda each: backend.generate(**each), asked))
    assert 1 in decodes.codes
    assert together == alone
    assert [answer.usage and answer.usage.completion_tokens for answer in together] == [200] * 6


def test_a_step_that_fails_reaches_everybody_and_the_model_loads_again(
    tiny: LlamaCppBackend, tiny_gguf: Path, exact: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tiny.generate("a", max_tokens=5, **ENDLESS, temperature=0)
    scheduler = tiny._scheduler
    assert scheduler is not None

    def all_are_there() -> bool:
        """A busy machine may start the last thread when the first is done: the steps wait for it."""
        until(lambda: len(scheduler._running) + len(scheduler._waiting) == 8)
        return len(scheduler._running) == 8

    Decodes(monkeypatch, fails=all_are_there)
    running = [started(tiny, f"{number}", max_tokens=400, **ENDLESS) for number in range(8)]
    for thread, outcome, _ in running:
        thread.join()
        assert isinstance(outcome[0], GenerationError)
        assert "llama_decode returned -3" in str(outcome[0])
    assert len({id(outcome[0]) for _, outcome, _ in running}) == 8  # each has a traceback of its own
    assert tiny.generate("a", max_tokens=5, **ENDLESS, temperature=0) == expected
    tiny.load_model(tiny_gguf, exact)
    assert tiny.generate("a", max_tokens=5, **ENDLESS, temperature=0) == expected


@pytest.mark.parametrize("how", ["unload_model", "load_model", "close"])
def test_unloading_ends_answers_that_are_being_written(fresh: LlamaCppBackend, tiny_gguf: Path, how: str) -> None:
    running = [started(fresh, LONG, temperature=0, max_tokens=50) for _ in range(3)]
    paused = fresh.generate_stream("Hi", temperature=0)
    until(computing(fresh))
    if how == "load_model":
        fresh.load_model(tiny_gguf, {"n_threads": 1})
    else:
        getattr(fresh, how)()
    for thread, outcome, _ in running:
        thread.join()
        assert isinstance(outcome[0], ModelNotLoadedError)
    with pytest.raises(ModelNotLoadedError):
        paused.read()
    if how == "load_model":
        assert fresh.generate("a", max_tokens=2, **ENDLESS)


def test_unloading_and_loading_under_load(tiny_gguf: Path, exact: dict[str, Any]) -> None:
    """Whatever is in the middle of something gets an error or its whole answer; nothing crashes."""
    backend = LlamaCppBackend()
    backend.load_model(tiny_gguf, exact)
    asked = {"prompt": "a" * 400, "max_tokens": 20, "temperature": 0, **ENDLESS}
    expected = backend.generate(**asked)
    stop, wrong = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = backend.generate(**asked)
            except ModelNotLoadedError:
                continue
            if answer != expected:
                wrong.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(8):
        backend.load_model(tiny_gguf, exact)
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    backend.close()
    assert not wrong
