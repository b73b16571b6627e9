"""How long a call may still wait, and whether at all."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Self

from llamaforge.cancellation import CancellationToken

_SLACK = 0.005
"""Timers of the system may wake us a little early."""

_current = threading.local()


class CancelScope:
    """One deadline for all of a call's waiting, and a way to end that waiting from another thread.

    The work is done in ``with scope:`` by one thread at a time; the sockets that this thread waits on then obey the
    scope (see :mod:`forge_openai.network`).

    Args:
        timeout: seconds from now, or None.
        deadline: the same as a moment of ``time.perf_counter()``; it goes before *timeout*.
    """

    __slots__ = ("_before", "_cancelled", "_end", "_interrupt", "_lock", "headers", "timeout")

    def __init__(self, timeout: float | None = None, deadline: float | None = None) -> None:
        self.timeout = timeout
        self.headers: Mapping[str, str] = {}
        """What observers want sent with the request."""
        if deadline is None:
            deadline = math.inf if timeout is None else time.perf_counter() + timeout
        self._end = deadline
        self._cancelled = threading.Event()
        self._interrupt: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._before: CancelScope | None = None

    @classmethod
    def of(cls, control: CancellationToken) -> Self:
        """The scope of a request: its deadline, and cancelled with it."""
        scope = cls(control.timeout, control.deadline)
        scope.headers = control.headers
        control.on_cancel(scope.cancel)
        return scope

    @property
    def bounded(self) -> bool:
        """Whether there is a deadline."""
        return self._end < math.inf

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.left() <= _SLACK

    @property
    def cancelled(self) -> bool:
        """Whether the caller has left."""
        return self._cancelled.is_set()

    def left(self) -> float:
        """Seconds until the deadline; infinity without one."""
        return self._end - time.perf_counter()

    def cancel(self) -> None:
        """End the waiting: that which is under way, and all that would begin later. From any thread."""
        with self._lock:
            self._cancelled.set()
            if self._interrupt is not None:
                self._interrupt()

    def sleep(self, seconds: float) -> None:
        """Wait, but not past a cancellation."""
        self._cancelled.wait(seconds)

    def waiting(self, interrupt: Callable[[], None] | None) -> None:
        """A wait begins that *interrupt* can end; None: it is over. Raises ConnectionAbortedError after a cancellation.

        Interrupting is done under a lock, so that it never hits a connection that meanwhile serves another request.
        """
        with self._lock:
            if interrupt is not None and self._cancelled.is_set():
                raise ConnectionAbortedError("The request was cancelled.")
            self._interrupt = interrupt

    def __enter__(self) -> None:
        self._before = current_scope()
        _current.scope = self

    def __exit__(self, *exception: object) -> None:
        _current.scope = self._before


def current_scope() -> CancelScope | None:
    """The scope that this thread works in."""
    return getattr(_current, "scope", None)
