"""Counts requests in flight, so that a model is not unloaded while it is in use."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import TracebackType

from .. import forks
from ..errors import ModelNotLoadedError
from ..results import Event


class InFlight:
    """Counts the requests in flight: ``with`` blocks, or streams read through it. Once closed, it admits no more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False
        self.last_exit = 0.0
        """When the last one went out, by ``time.monotonic()``; 0 if nobody has."""
        self._ends: list[float] = []
        """Until when each of those who want the gate closed is ready to wait, by ``time.monotonic()``."""
        forks.watch(self)

    def after_fork(self) -> None:
        """Nobody is inside whose thread is still there, but perhaps the one that forked."""
        self._changed = forks.renewed(self._changed, threading.Condition)
        self._inside = 0
        self._ends.clear()

    @property
    def count(self) -> int:
        """How many are inside."""
        return self._inside

    def open(self) -> None:
        """Let requests in."""
        with self._changed:
            self._closed = False

    @contextmanager
    def drain_limit(self, timeout: float | None) -> Iterator[None]:
        """In it, :meth:`drain` waits *timeout* seconds at most, whichever thread has called it."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._ends.append(end)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._ends.remove(end)

    def drain(self, timeout: float | None) -> bool:
        """Let no more in, and wait until all are out: *timeout* seconds at most. Returns whether they are."""
        with self.drain_limit(timeout), self._changed:
            self._closed = True
            while self._inside:
                left = min(self._ends, default=math.inf) - time.monotonic()
                if left <= 0:
                    return False
                try:
                    self._changed.wait(None if left == math.inf else left)
                except BaseException:  # Ctrl+C: whoever waited gave up, and nothing is taken away
                    self._closed = False
                    raise
            return True

    def through(self, events: Iterator[Event]) -> Iterator[Event]:
        """*events*, under way from the first that is asked for to the end."""
        with self:
            yield from events

    async def athrough(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """Likewise, for event loops."""
        visit = _Visit(self)
        try:
            async for event in events:
                yield event
        finally:
            try:
                close = getattr(events, "aclose", None)
                if close is not None:
                    await close()
            finally:
                visit.end()

    def __enter__(self) -> None:
        with self._changed:
            if self._closed:
                raise ModelNotLoadedError("The model is being unloaded.")
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._inside = max(0, self._inside - 1)  # a forked child may leave what its parent entered
            self.last_exit = time.monotonic()
            if self._closed:
                self._changed.notify_all()


class _Visit:
    """Somebody inside a gate: until :meth:`end`, or until nobody knows of it any more, since what an event loop left
    unfinished when it was closed never gets to its ``finally``."""

    __slots__ = ("_in_flight",)

    def __init__(self, gate: InFlight) -> None:
        self._in_flight: InFlight | None = None
        gate.__enter__()
        self._in_flight = gate

    def end(self) -> None:
        """Go out; more than once does no harm."""
        gate, self._in_flight = self._in_flight, None
        if gate is not None:
            gate.__exit__(None, None, None)

    __del__ = end
