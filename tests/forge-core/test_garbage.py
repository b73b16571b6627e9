"""A request that has ended is freed at once, with its prompt and its answer: nothing of it waits for the garbage
collector, whose pauses grow with what it has to look at."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from llamaforge import BaseBackend, get_backend
from llamaforge.errors import LlamaForgeError
from llamaforge.testing.fakes import AsyncToyBackend, ToyBackend

GIVEN: dict[str, Any] = {"max_tokens": 4}
TURNS = [{"role": "user", "content": "Hi"}]
REPEATS = 20
ROUNDS = 5


@pytest.fixture(params=["echo", ToyBackend, AsyncToyBackend], ids=["echo", "toy", "async toy"])
def backend(request: pytest.FixtureRequest) -> Iterator[BaseBackend]:
    made = get_backend(request.param)() if isinstance(request.param, str) else request.param()
    with made:
        made.load_model("toy")
        yield made


def garbage_of(work: Callable[[], object]) -> float:
    """Objects that *work* leaves to the collector, each time; the least of several rounds: what earlier tests left
    may die meanwhile."""
    found = []
    gc.disable()
    try:
        for _ in range(ROUNDS):
            work()
            gc.collect()
            for _ in range(REPEATS):
                work()
            found.append(gc.collect() / REPEATS)
            if found[-1] < 1:
                break
    finally:
        gc.enable()
    return min(found)


def leave(backend: BaseBackend) -> None:
    with backend.generate_stream("Hi", GIVEN) as stream:
        next(stream)


SYNC: dict[str, Callable[[BaseBackend], object]] = {
    "generate": lambda backend: backend.generate("Hi", GIVEN),
    "chat": lambda backend: backend.chat(TURNS, GIVEN),
    "stream": lambda backend: list(backend.generate_stream("Hi", GIVEN)),
    "left": leave,
    "batch": lambda backend: list(backend.generate_batch(["Hi", "Ho"], GIVEN)),
    "a bad value": lambda backend: backend.generate("Hi", {"temperature": -1}),
    "an unknown name": lambda backend: backend.generate("Hi", {"nonsense": 1}),
    "too long": lambda backend: backend.generate("Hi " * 5000, {"max_tokens": 100_000}),
    "too late": lambda backend: backend.generate("Hi", GIVEN | {"timeout": 1e-6}),
    "vectors": lambda backend: backend.embed(["Hi", "Ho"]),
    "vectors, too late": lambda backend: backend.embed(["Hi", "Ho"], timeout=1e-6),
}


@pytest.mark.parametrize("way", SYNC)
def test_nothing_waits_for_the_collector(backend: BaseBackend, way: str) -> None:
    def work() -> None:
        with contextlib.suppress(LlamaForgeError):
            SYNC[way](backend)

    assert garbage_of(work) < 1


async def aleave(backend: BaseBackend) -> None:
    async with backend.agenerate_stream("Hi", GIVEN) as stream:
        await anext(stream)


async def cancel(backend: BaseBackend) -> None:
    task = asyncio.ensure_future(backend.agenerate("Hi", {"max_tokens": 50}))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


ASYNC: dict[str, Callable[[BaseBackend], Awaitable[object]]] = {
    "generate": lambda backend: backend.agenerate("Hi", GIVEN),
    "chat": lambda backend: backend.achat(TURNS, GIVEN),
    "left": aleave,
    "cancelled": cancel,
    "a bad value": lambda backend: backend.agenerate("Hi", {"temperature": -1}),
    "too long": lambda backend: backend.agenerate("Hi " * 5000, {"max_tokens": 100_000}),
    "too late": lambda backend: backend.agenerate("Hi", GIVEN | {"timeout": 1e-6}),
    "vectors": lambda backend: backend.aembed(["Hi", "Ho"]),
    "vectors, too late": lambda backend: backend.aembed(["Hi", "Ho"], timeout=1e-6),
}


@pytest.mark.parametrize("way", ASYNC)
def test_nothing_waits_for_the_collector_in_event_loops(backend: BaseBackend, way: str) -> None:
    async def work() -> None:
        with contextlib.suppress(LlamaForgeError):
            await ASYNC[way](backend)

    with asyncio.Runner() as runner:
        assert garbage_of(lambda: runner.run(work())) < 1
