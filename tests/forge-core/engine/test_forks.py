"""A child of fork has its parent's backends, but not their threads: it gets a typed error, and never hangs."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge import LlamaForge, register_backend
from llamaforge.backends import registry
from llamaforge.cancellation import CancellationToken
from llamaforge.engine.event_queue import ThreadEventQueue
from llamaforge.engine.preparation import Preparation
from llamaforge.engine.scheduler import Scheduler
from llamaforge.requests import read_request
from support.forking import in_child

from .toy import ToyBackend, until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

FORKED = "ModelNotLoadedError: The model was loaded before this process was forked"


@pytest.fixture
def backend() -> Iterator[ToyBackend]:
    with ToyBackend() as toy:
        yield toy


def scheduler_of(backend: ToyBackend) -> Scheduler:
    assert backend._scheduler is not None
    return backend._scheduler


async def _agather(backend: ToyBackend) -> list[Any]:
    return [item.text async for item in backend.agenerate_batch(["abc"])]


CALLS: dict[str, Callable[[ToyBackend], object]] = {
    "generate": lambda backend: backend.generate("abc"),
    "stream": lambda backend: list(backend.generate_stream("abc")),
    "chat": lambda backend: backend.chat([{"role": "user", "content": "abc"}]),
    "batch": lambda backend: [item.text for item in backend.generate_batch(["abc"])],
    "agenerate": lambda backend: asyncio.run(backend.agenerate("abc")),
    "agenerate_batch": lambda backend: asyncio.run(_agather(backend)),
    "render": lambda backend: backend.render("abc"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_in_the_child_says_to_load_after_the_fork(backend: ToyBackend, call: str) -> None:
    assert in_child(lambda: CALLS[call](backend)).startswith(FORKED)
    assert CALLS[call](backend), "the parent goes on"


@pytest.mark.parametrize("used", [False, True])
def test_who_waits_is_told_in_the_child(backend: ToyBackend, used: bool) -> None:
    queue = scheduler_of(backend)
    if used:
        backend.generate("abc", {"max_tokens": 3})
        until(lambda: not queue._running)
    events = ThreadEventQueue()
    preparation = Preparation(backend.engine, queue, read_request("abc"), CancellationToken(), events, 0.0)
    sequence = preparation.wait()
    assert sequence is not None

    def work() -> object:
        queue._waiting.append(sequence)  # as if it had waited when the process was forked
        queue.after_fork()
        error = events.get(1)
        return f"{type(error).__name__}: {error}"

    assert in_child(work).startswith(FORKED)


def test_the_child_may_unload_and_load_again(backend: ToyBackend) -> None:
    def work() -> str:
        states = [backend.is_model_loaded()]
        backend.unload_model(wait=True)
        backend.close()
        backend.load_model("toy")
        states.append(backend.is_model_loaded())
        answer = backend.generate("abc", {"max_tokens": 3})
        backend.close()
        return f"{states} {answer}"

    assert in_child(work) == f"[False, True] {backend.generate('abc', {'max_tokens': 3})}"


def test_a_stream_under_way_ends_in_the_child_and_goes_on_in_the_parent(backend: ToyBackend) -> None:
    whole = backend.generate("abc", {"max_tokens": 50})
    go_on, steps = threading.Event(), itertools.count()
    backend.engine.before = lambda _: next(steps) < 5 or go_on.wait()
    with backend.generate_stream("abc", {"max_tokens": 50}) as stream, backend.generate_stream("abc") as unread:
        first = next(stream)
        assert FORKED in in_child(lambda: list(stream) + list(stream))
        assert in_child(lambda: list(unread)).startswith(FORKED)
        assert in_child(lambda: (stream.close(), unread.close(), "closed")[-1]) == "closed"
        go_on.set()
        assert first + "".join(stream) == whole


def test_locks_that_other_threads_held_are_free_in_the_child(backend: ToyBackend) -> None:
    scheduler = scheduler_of(backend)
    locks = [
        scheduler._changed,
        scheduler.users._changed,
        backend._loading,
        backend._in_flight._changed,
    ]
    held, enough = threading.Event(), threading.Event()

    def hold() -> None:
        with locks[0], locks[1], locks[2], locks[3]:
            held.set()
            enough.wait()

    def work() -> str:
        backend.unload_model(wait=True)
        backend.load_model("toy")
        answer = backend.generate("abc", {"max_tokens": 3})
        backend.close()
        return answer

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        said = in_child(work)
    finally:
        enough.set()
        thread.join()
    assert said == backend.generate("abc", {"max_tokens": 3})


def test_a_backend_that_nobody_holds_any_more_ends_quietly_in_the_child() -> None:
    toys = [ToyBackend()]
    assert in_child(lambda: (toys.clear(), "gone")[-1]) == "gone"
    toys[0].close()


class TestFrontDoor:
    @pytest.fixture
    def forge(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LlamaForge]:
        monkeypatch.setattr(registry, "_registered", {})
        register_backend("toy", ToyBackend)
        with LlamaForge(config_path=tmp_path / "models.toml") as forge:
            forge.add_model("one", "toy", backend="toy")
            forge.load_model("one")
            yield forge

    def test_asking_says_to_load_after_the_fork(self, forge: LlamaForge) -> None:
        assert in_child(lambda: forge.generate("abc")).startswith(FORKED)
        assert in_child(lambda: asyncio.run(forge.agenerate("abc"))).startswith(FORKED)
        assert in_child(lambda: (forge.is_model_loaded(), forge.loaded_models())) == "(False, [])"
        assert [model.name for model in forge.loaded_models()] == ["one"]

    def test_loading_in_the_child_works(self, forge: LlamaForge) -> None:
        def work() -> str:
            forge.load_model("one")
            answer = forge.generate("abc", max_tokens=3)
            forge.close()
            return answer

        assert in_child(work) == forge.generate("abc", max_tokens=3)

    def test_a_load_that_was_under_way_is_begun_anew(self, forge: LlamaForge) -> None:
        started, enough = threading.Event(), threading.Event()

        class Slow(ToyBackend):
            def check_model(self, model_path: str, config: Any) -> None:
                if threading.current_thread().name == "loads":
                    started.set()
                    enough.wait()

        register_backend("slow", Slow)
        forge.add_model("two", "toy", backend="slow")
        thread = threading.Thread(target=forge.load_model, args=("two",), name="loads")
        thread.start()
        started.wait()

        def work() -> str:
            forge.load_model("two")
            answer = forge.generate("abc", max_tokens=3)
            forge.unload_model("two", wait=True)
            return answer

        try:
            said = in_child(work)
        finally:
            enough.set()
            thread.join()
        assert said == forge.generate("abc", max_tokens=3)

    def test_a_model_that_its_backend_unloaded_is_loaded_again(self, forge: LlamaForge) -> None:
        forge.backend("one").unload_model()
        assert not forge.is_model_loaded("one")
        forge.load_model("one")
        assert forge.generate("abc", max_tokens=3)
