"""One implementation, two worlds: an author writes stream or astream, and callers have both."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from llamaforge import BackendSpec, BaseBackend, Capabilities
from llamaforge.backends.echo import EchoBackend
from llamaforge.bridges import BUFFERED, _shared_loop, in_loop
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import ContractError, GenerationError, GenerationTimeoutError, UnknownParameterError
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, Finished, TextDelta, Usage

SPEC = BackendSpec(
    name="slow",
    target="x:X",
    config="x:X",
    summary="",
    capabilities=Capabilities(parameters=frozenset({"max_tokens"})),
)
USAGE = Usage(prompt_tokens=1, completion_tokens=3)


class Sync(BaseBackend):
    """Written with stream. *stuck* computes for long without an event, and looks at the control meanwhile."""

    spec = SPEC
    delay = 0.0
    stuck = False

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.begun, self.ended = threading.Event(), threading.Event()

    def load(self, model_path: str, config: Any) -> None:
        """Nothing to open."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        self.begun.set()
        try:
            while self.stuck and not cancellation.stopped:
                time.sleep(0.002)
            for number in range(request.max_tokens or 3):
                if request.prompt == "fail":
                    raise ValueError("boom")
                time.sleep(self.delay)
                self.steps += 1
                yield TextDelta(str(number))
            yield Finished(finish_reason="stop", usage=USAGE)
        finally:
            self.ended.set()


class Async(Sync):
    """The same, written with astream."""

    stream = BaseBackend.stream

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        self.begun.set()
        try:
            while self.stuck and not cancellation.stopped:  # noqa: ASYNC110 - as an engine would
                await asyncio.sleep(0.002)
            for number in range(request.max_tokens or 3):
                if request.prompt == "fail":
                    raise ValueError("boom")
                await asyncio.sleep(self.delay)
                self.steps += 1
                yield TextDelta(str(number))
            yield Finished(finish_reason="stop", usage=USAGE)
        finally:
            self.ended.set()


@pytest.fixture(params=[Sync, Async])
def backend(request: pytest.FixtureRequest) -> Sync:
    made: Sync = request.param()
    made.load_model("m")
    return made


def test_sync_calls(backend: Sync) -> None:
    answer = backend.generate("x")
    assert (answer, answer.usage, answer.finish_reason) == ("012", USAGE, "stop")
    assert list(backend.generate_stream("x")) == ["0", "1", "2"]
    with pytest.raises(GenerationError, match="boom"):
        backend.generate("fail")


async def test_async_calls(backend: Sync) -> None:
    answer = await backend.agenerate("x")
    assert (answer, answer.usage, answer.finish_reason) == ("012", USAGE, "stop")
    async with backend.agenerate_stream("x", max_tokens=2) as stream:
        assert [piece async for piece in stream] == ["0", "1"]
    assert stream.result == "01"
    assert await backend.achat([{"role": "user", "content": "x"}]) == "012"
    with pytest.raises(GenerationError, match="boom"):
        await backend.agenerate("fail")
    with pytest.raises(UnknownParameterError):
        backend.agenerate_stream("x", temprature=1)


async def test_sync_calls_inside_a_running_loop(backend: Sync) -> None:
    assert backend.generate("x") == "012"


async def test_the_loop_goes_on_while_a_backend_works(backend: Sync) -> None:
    backend.delay = 0.02
    done = asyncio.Event()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await asyncio.gather(*(backend.agenerate("x", max_tokens=10) for _ in range(5)))
    done.set()
    await ticking
    assert ticks > 5


async def test_leaving_an_async_stream_stops_the_engine(backend: Sync) -> None:
    backend.delay = 0.001
    async with backend.agenerate_stream("x", max_tokens=100_000) as stream:
        async for _ in stream:
            break
    assert stream.result.finish_reason == "cancelled"
    assert await asyncio.to_thread(backend.ended.wait, 10)
    steps = backend.steps
    await asyncio.sleep(0.05)
    assert backend.steps == steps
    assert await backend.agenerate("x") == "012"


async def test_cancelling_a_task_stops_the_engine_even_before_its_first_event(backend: Sync) -> None:
    backend.stuck = True
    task = asyncio.create_task(backend.agenerate("x"))
    await asyncio.sleep(0.05)
    assert not backend.ended.is_set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(backend.ended.wait, 10)
    assert backend.steps <= 1


def test_closing_from_another_thread_ends_a_stream_that_waits(backend: Sync) -> None:
    backend.stuck = True
    stream = backend.generate_stream("x")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(stream))
    reader.start()
    assert backend.begun.wait(10)
    stream.close()
    reader.join(10)
    assert not reader.is_alive()
    assert stream.result.finish_reason == "cancelled"
    assert backend.ended.wait(10)


def test_a_deadline_reaches_an_engine_between_events(backend: Sync) -> None:
    backend.stuck = True
    with pytest.raises(GenerationTimeoutError):
        backend.generate("x", timeout=0.05)


async def test_a_deadline_ends_an_async_call(backend: Sync) -> None:
    backend.stuck = True
    with pytest.raises(GenerationTimeoutError):
        await backend.agenerate("x", timeout=0.05)
    backend.stuck = False
    assert await backend.agenerate("x", timeout=10) == "012"


async def test_an_engine_that_ignores_its_deadline_does_not_hold_an_async_caller() -> None:
    release = threading.Event()

    class Deaf(Sync):
        def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
            release.wait(10)
            yield Finished(finish_reason="stop")

    backend = Deaf()
    backend.load_model("m")
    with pytest.raises(GenerationTimeoutError):
        await backend.agenerate("x", timeout=0.05)
    release.set()


async def test_a_slow_reader_holds_the_engine_back() -> None:
    backend = Sync()
    backend.load_model("m")
    async with backend.agenerate_stream("x", max_tokens=10_000) as stream:
        assert await anext(stream) == "0"
        await asyncio.sleep(0.1)
        assert backend.steps <= BUFFERED + 2


async def test_async_streams_are_held_to_the_contract() -> None:
    class Endless(Async):
        async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
            yield Finished(finish_reason="stop")
            yield TextDelta("more")

    backend = Endless()
    backend.load_model("m")
    with pytest.raises(ContractError):
        await backend.agenerate("x")
    with pytest.raises(ContractError):
        backend.generate("x")


async def test_many_at_once_keep_their_own_text(backend: Sync) -> None:
    backend.delay = 0.0005
    answers = await asyncio.gather(*(backend.agenerate("x", max_tokens=n) for n in range(1, 30)))
    assert answers == ["".join(map(str, range(n))) for n in range(1, 30)]


async def test_async_with_and_health() -> None:
    async with EchoBackend() as backend:
        assert await backend.health() is False
        backend.load_model("anything")
        assert await backend.health() is True
    assert not backend.is_model_loaded()
    assert not backend.health()


def test_a_stream_that_is_collected_in_the_shared_loop_does_not_stop_it() -> None:
    async def source() -> AsyncIterator[Event]:
        for text in "abc":
            yield TextDelta(text)

    kept = [in_loop(source, CancellationToken())]
    next(kept[0])
    collected = threading.Event()
    _shared_loop().call_soon_threadsafe(lambda: (kept.clear(), collected.set()))
    assert collected.wait(10)
    assert len(list(in_loop(source, CancellationToken()))) == 3
