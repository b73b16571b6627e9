"""Defects that show when several things happen at once, or when somebody leaves."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...requests import GenerationRequest, ResolvedRequest
from ...results import Event, Finished, GeneratedText, TextDelta
from ..fakes import AsyncToyBackend, ToyBackend


class SwapsAnswers(ToyBackend):
    """Keeps the prompt of the request on the backend."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The answer to whatever was asked last."""
        self._request = request
        for number, event in enumerate(super().stream(request, cancellation)):
            yield event
            if number == 1 and self._request is not request:
                yield TextDelta(f" {(self._request.prompt or '')[:10]}")


class HoldsALockWhileItYields(ToyBackend):
    """Takes its lock for as long as a stream is open."""

    def __init__(self) -> None:
        super().__init__()
        self._engine = threading.Lock()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """One at a time, from the first piece to the last."""
        with self._engine:
            yield from super().stream(request, cancellation)


class KeepsItsLockWhenLeft(ToyBackend):
    """Gives its lock back at the end of an answer, and only there."""

    def __init__(self) -> None:
        super().__init__()
        self._engine = threading.Lock()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Without ``finally``."""
        self._engine.acquire()
        for event in super().stream(request, cancellation):
            if isinstance(event, Finished):
                self._engine.release()
            yield event


class KeepsItsLockOnErrors(ToyBackend):
    """Gives its lock back unless something goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self._engine = threading.Lock()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Without ``finally`` around the tokenizer."""
        self._engine.acquire()
        self.tokenize(self.render_request(request))
        self._engine.release()
        yield from super().stream(request, cancellation)


class RefusesToLeave(ToyBackend):
    """Catches what closes its generator."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Whatever happens, one more piece."""
        for event in super().stream(request, cancellation):
            try:
                yield event
            except BaseException:  # noqa: BLE001 - that is the defect
                yield event


class StumblesOverThreads(ToyBackend):
    """Can be used by the thread that loaded it."""

    def load(self, model_path: str, config: Any) -> None:
        """Remember the thread."""
        super().load(model_path, config)
        self._owner = threading.get_ident()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """In that thread alone."""
        if threading.get_ident() != self._owner:
            raise RuntimeError("objects made in a thread can only be used in that same thread")
        yield from super().stream(request, cancellation)


class BlocksTheLoop(ToyBackend):
    """Works synchronously in ``astream``."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """Without ever giving the loop a turn."""
        for event in super().stream(request, cancellation):
            yield event


class BelongsToOneLoop(AsyncToyBackend):
    """Makes its client once, in the first event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._home: asyncio.AbstractEventLoop | None = None

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """With a client of the first loop."""
        if self._home is None:
            self._home = asyncio.get_running_loop()
        answered = self._home.create_future()
        self._home.call_soon(answered.set_result, None)
        await answered
        async for event in super().astream(request, cancellation):
            yield event


class LeavesTasksBehind(AsyncToyBackend):
    """Starts a task for each request and never ends it."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """Beside a task that waits for ever."""
        self._task = asyncio.ensure_future(asyncio.Event().wait())
        async for event in super().astream(request, cancellation):
            yield event


class RunsALoopOfItsOwn(ToyBackend):
    """Calls ``asyncio.run`` in ``stream``."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With a loop inside."""

        async def collect() -> list[Event]:
            return list(super(RunsALoopOfItsOwn, self).stream(request, cancellation))

        yield from asyncio.run(collect())


class ComputesForNobody(ToyBackend):
    """Fills a queue from a thread of its own, to the end, whoever reads."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """From the queue."""
        arrived: queue.Queue[Event] = queue.Queue()

        def fill() -> None:
            for event in super(ComputesForNobody, self).stream(request, CancellationToken()):
                arrived.put(event)

        threading.Thread(target=fill, daemon=True).start()
        while True:
            event = arrived.get()
            yield event
            if isinstance(event, Finished):
                return


class HoldsUpTheNext(ToyBackend):
    """Has one worker, which finishes what it began before it takes the next."""

    def __init__(self) -> None:
        super().__init__()
        self._worker = ThreadPoolExecutor(max_workers=1)

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """From the worker, which hears nothing."""
        arrived: queue.Queue[Event] = queue.Queue()

        def fill() -> None:
            for event in super(HoldsUpTheNext, self).stream(request, CancellationToken()):
                arrived.put(event)

        self._worker.submit(fill)
        while True:
            event = arrived.get()
            yield event
            if isinstance(event, Finished):
                return


class ComputesBeforeItAnswers(ToyBackend):
    """Computes the whole answer before its first event, and looks at no deadline meanwhile."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """All at once."""
        yield from list(super().stream(request, CancellationToken()))


class KnowsNoDeadline(ToyBackend):
    """Overrides ``generate``, and forgets the timeout."""

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """Without it."""
        return super().generate(
            prompt, {name: value for name, value in (parameters or {}).items() if name != "timeout"}
        )


class TakesSecondsForMilliseconds(ToyBackend):
    """Has another idea of the unit of timeout."""

    def _resolve(self, *given: Any) -> ResolvedRequest:
        resolved = super()._resolve(*given)
        timeout = None if resolved.request.timeout is None else resolved.request.timeout / 1_000_000
        return resolved._replace(request=replace(resolved.request, timeout=timeout))


class StartsThreadsForEver(ToyBackend):
    """Starts a thread for each request that never ends."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Beside a thread that waits."""
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        return super().stream(request, cancellation)


class WaitsForItsReaders(ToyBackend):
    """Unloads once every stream was read to its end, whoever reads it."""

    def __init__(self) -> None:
        super().__init__()
        self._in_use = threading.Lock()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """While the lock is held."""
        with self._in_use:
            yield from super().stream(request, cancellation)

    def unload(self) -> None:
        """When nobody holds it."""
        with self._in_use:
            super().unload()
