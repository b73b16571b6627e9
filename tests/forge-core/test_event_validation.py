"""What an engine does after it should have ended: its failures are typed, and never reach a reader who left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from llamaforge import BackendSpec, BaseBackend, Finished, GenerationRequest, TextDelta
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import GenerationError


def _spec(name: str) -> BackendSpec:
    return BackendSpec(name=name, target=f"{__name__}:{name}", config="llamaforge:BackendConfig", summary="For a test")


class _HangsUp(BaseBackend):
    """Told to stop while it works on the second event, it still yields that, and fails at the next step."""

    spec = _spec("_HangsUp")

    def load(self, model_path: str, config: Any) -> None:
        self.seen = threading.Event()
        """Set by the reader, who may be in another thread: what came before the end is its own."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Any]:
        yield TextDelta("one")
        assert self.seen.wait(10)
        cancellation.cancel()
        yield TextDelta("two")
        raise ConnectionResetError("the connection is gone")


class _HangsUpLater(_HangsUp):
    stream = BaseBackend.stream

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Any]:
        for event in _HangsUp.stream(self, request, cancellation):
            yield event


class _FailsAtTheEnd(BaseBackend):
    spec = _spec("_FailsAtTheEnd")

    def load(self, model_path: str, config: Any) -> None: ...

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Any]:
        yield Finished(finish_reason="stop")
        raise ZeroDivisionError("while cleaning up")


def _loaded(backend: BaseBackend) -> BaseBackend:
    backend.load_model("m")
    return backend


@pytest.mark.parametrize("kind", [_HangsUp, _HangsUpLater])
def test_a_failure_of_an_engine_that_was_told_to_stop_is_none(kind: type[BaseBackend]) -> None:
    backend: Any = _loaded(kind())
    pieces = []
    with backend.generate_stream("hello") as stream:
        for piece in stream:
            pieces.append(piece)
            backend.seen.set()
    assert pieces == ["one"]
    assert stream.result.finish_reason == "cancelled"
    backend.seen.clear()

    async def read() -> str:
        pieces = []
        async with backend.agenerate_stream("hello") as twin:
            async for piece in twin:
                pieces.append(piece)
                backend.seen.set()
        assert twin.result.finish_reason == "cancelled"
        return "".join(pieces)

    assert asyncio.run(read()) == "one"


def test_a_failure_after_the_terminal_event_is_typed() -> None:
    backend = _loaded(_FailsAtTheEnd())
    with pytest.raises(GenerationError, match="ZeroDivisionError: while cleaning up"):
        backend.generate("hello")
    with pytest.raises(GenerationError, match="ZeroDivisionError: while cleaning up"):
        asyncio.run(backend.agenerate("hello"))
