"""Many threads, streams left half-way, deadlines, cancellation, unloading under somebody's feet."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from forge_llamacpp import LlamaCppBackend
from llamaforge.errors import GenerationError, GenerationTimeoutError, ModelNotLoadedError

LONG = "All work and no play makes Jack a dull boy. " * 60


@pytest.fixture
def tiny(tiny_gguf: Path) -> Iterator[LlamaCppBackend]:
    """The small model: it never ends by itself with END forbidden."""
    with LlamaCppBackend() as loaded:
        loaded.load_model(tiny_gguf, {"n_threads": 1})
        yield loaded


ENDLESS: dict[str, Any] = {"raw": True, "logit_bias": {256: -100}, "seed": 3}


def requests(count: int) -> list[dict[str, Any]]:
    return [
        {"prompt": f"{number} {'x' * (number % 7)}", "max_tokens": 5 + number % 20, **ENDLESS}
        for number in range(count)
    ]


def test_sixteen_threads_get_their_own_answers(tiny: LlamaCppBackend) -> None:
    asked = requests(320)
    expected = [tiny.generate(**each) for each in asked[:40]]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda each: tiny.generate(**each), asked))
    assert answers[:40] == expected
    assert answers == [tiny.generate(**each) for each in asked]
    for each, answer in zip(asked, answers, strict=True):
        assert answer.usage is not None
        assert answer.usage.completion_tokens == each["max_tokens"]


def test_eight_threads_on_the_real_model(backend: LlamaCppBackend) -> None:
    words = ["red", "dog", "sea", "sun", "tea", "ice", "fox", "oak"]

    def ask(word: str) -> str:
        return backend.generate(f"The {word} is", temperature=0, max_tokens=5, raw=True)

    alone = {word: ask(word) for word in words}
    assert len(set(alone.values())) > 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, words * 2))
    assert together == [alone[word] for word in words] * 2


def test_streams_read_side_by_side_in_one_thread(backend: LlamaCppBackend) -> None:
    """Nobody has to finish a stream before opening the next one, and none is changed by the others."""
    prompts = ["Name three colours.", "Count to ten.", "Say hello in French."]
    options: dict[str, Any] = {"seed": 9, "temperature": 0.9, "repetition_penalty": 1.1, "max_tokens": 8}
    alone = [backend.generate(prompt, options) for prompt in prompts]
    streams = [backend.generate_stream(prompt, options) for prompt in prompts]
    texts = ["", "", ""]
    for _ in range(20):
        for index, stream in enumerate(streams):
            texts[index] += next(stream, "")
    assert texts == alone
    assert [stream.result.usage for stream in streams] == [answer.usage for answer in alone]


def test_a_stream_that_is_open_but_not_read_stops_nobody(tiny: LlamaCppBackend) -> None:
    expected = tiny.generate("a", max_tokens=30, **ENDLESS)
    held = tiny.generate_stream("a", max_tokens=30, **ENDLESS)
    beginning = next(held)
    for _ in range(3):
        assert tiny.generate("b", max_tokens=5, **ENDLESS)
    assert beginning + "".join(held) == expected


@pytest.mark.parametrize("leave", ["close", "with", "drop", "break"])
def test_leaving_a_stream_lets_the_next_one_in_at_once(tiny: LlamaCppBackend, leave: str) -> None:
    expected = tiny.generate("b", max_tokens=5, **ENDLESS)
    for _ in range(5):
        if leave == "with":
            with tiny.generate_stream("a", **ENDLESS) as stream:
                next(stream)
            assert stream.result.finish_reason == "cancelled"
        else:
            stream = tiny.generate_stream("a", **ENDLESS)
            for _ in stream:
                break
            if leave == "close":
                stream.close()
            elif leave == "drop":
                del stream
                gc.collect()
        assert tiny.generate("b", max_tokens=5, **ENDLESS) == expected


def started(backend: LlamaCppBackend, prompt: str, **parameters: Any) -> tuple[threading.Thread, list[Any], Any]:
    """A request in a thread of its own, past its start."""
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


def busy(backend: LlamaCppBackend) -> Callable[[], bool]:
    assert backend._model is not None
    turns = backend._model._turns
    return lambda: turns._holder is not None


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


def test_a_stream_closed_from_another_thread_stops_in_the_middle_of_a_long_prompt(fresh: LlamaCppBackend) -> None:
    expected = fresh.generate("Hi", temperature=0, max_tokens=3)
    thread, outcome, stream = started(fresh, LONG, temperature=0, max_tokens=50)
    until(busy(fresh))
    stream.close()
    thread.join()
    assert outcome[0].finish_reason == "cancelled"
    assert outcome[0] == ""
    assert fresh.generate("Hi", temperature=0, max_tokens=3) == expected


def test_a_deadline_ends_a_long_prompt(fresh: LlamaCppBackend) -> None:
    """Well before the prompt has been read: the computation itself is broken off."""
    expected = fresh.generate("Hi", temperature=0, max_tokens=3)
    with pytest.raises(GenerationTimeoutError):
        fresh.generate(LONG, temperature=0, timeout=0.02)
    assert fresh.generate("Hi", temperature=0, max_tokens=3) == expected


def test_a_deadline_keeps_the_text_so_far(tiny: LlamaCppBackend) -> None:
    stream = tiny.generate_stream("a", timeout=1.5, **ENDLESS)
    first = next(stream)
    time.sleep(1.6)
    with pytest.raises(GenerationTimeoutError) as caught:
        next(stream)
    assert (caught.value.timeout, caught.value.text) == (1.5, first)


def test_a_deadline_counts_while_others_have_the_turn(tiny: LlamaCppBackend) -> None:
    assert tiny._model is not None
    turns = tiny._model._turns
    from llamaforge.control import Control

    turns.take("somebody", Control())
    with pytest.raises(GenerationTimeoutError):
        tiny.generate("a", timeout=0.05, **ENDLESS)
    turns.leave("somebody")
    assert tiny.generate("a", max_tokens=2, timeout=60, **ENDLESS)


def test_the_time_in_the_queue_is_told(tiny: LlamaCppBackend) -> None:
    from llamaforge.control import Control

    assert tiny._model is not None
    turns = tiny._model._turns
    turns.take("somebody", Control())
    thread, outcome, _ = started(tiny, "a", max_tokens=2, **ENDLESS)
    until(lambda: len(turns._waiting) == 1)
    time.sleep(0.05)
    turns.leave("somebody")
    thread.join()
    assert outcome[0].timings.queued >= 0.05


@pytest.mark.parametrize("how", ["unload_model", "load_model", "close"])
def test_unloading_ends_answers_that_are_being_written(fresh: LlamaCppBackend, tiny_gguf: Path, how: str) -> None:
    running = [started(fresh, LONG, temperature=0, max_tokens=50) for _ in range(3)]
    paused = fresh.generate_stream("Hi", temperature=0)
    until(busy(fresh))
    if how == "load_model":
        fresh.load_model(tiny_gguf, {"n_threads": 1})
    else:
        getattr(fresh, how)()
    for thread, outcome, _ in running:
        thread.join()
        assert isinstance(outcome[0], ModelNotLoadedError | GenerationError)
    with pytest.raises((ModelNotLoadedError, GenerationError)):
        paused.read()
    if how == "load_model":
        assert fresh.generate("a", max_tokens=2, **ENDLESS)


def test_unloading_and_loading_under_load(tiny_gguf: Path) -> None:
    """Whatever is in the middle of something gets an error or its whole answer; nothing crashes."""
    backend = LlamaCppBackend()
    backend.load_model(tiny_gguf, {"n_threads": 1})
    expected = backend.generate("a", max_tokens=20, **ENDLESS)
    stop, wrong = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = backend.generate("a", max_tokens=20, **ENDLESS)
            except (ModelNotLoadedError, GenerationError):
                continue
            if answer != expected:
                wrong.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        backend.load_model(tiny_gguf, {"n_threads": 1})
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    backend.close()
    assert not wrong


async def test_event_loops_are_served_too(tiny: LlamaCppBackend) -> None:
    asked = requests(12)
    expected = [tiny.generate(**each) for each in asked]
    assert await asyncio.gather(*(tiny.agenerate(**each) for each in asked)) == expected
    task = asyncio.create_task(tiny.agenerate("a", **{**ENDLESS, "max_tokens": 480}))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await tiny.agenerate(**asked[0]) == expected[0]
