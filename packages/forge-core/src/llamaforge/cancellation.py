"""Cancellation and the deadline of one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from .errors import GenerationTimeoutError

_LONGEST: Final = 1e8
"""Seconds; the operating system's clocks end a little beyond 1e9."""
_NONE: Final[Mapping[str, str]] = {}


class CancellationToken:
    """Tells an engine whether a request is still wanted. Thread-safe; the base class creates one for each request.

    An engine that computes for long between two events (a prompt of thousands of tokens) checks :attr:`stopped`
    meanwhile and ends when it is true. Anything that it raises or yields after that is ignored.

    Args:
        timeout: seconds that the whole call may take, or None.
        started: the caller's ``time.perf_counter()``. Default: now.
    """

    __slots__ = ("_callbacks", "_cancelled", "_headers", "_lock", "deadline", "started", "timeout")

    def __init__(self, timeout: float | None = None, started: float | None = None) -> None:
        self.timeout = timeout
        self.started = time.perf_counter() if started is None else started
        self.deadline: float | None = None if timeout is None else self.started + timeout
        self._cancelled = False
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers that an observer added, such as ``traceparent``: a backend that asks a server sends them."""
        return getattr(self, "_headers", _NONE)

    @headers.setter
    def headers(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    @property
    def cancelled(self) -> bool:
        """Whether the caller has cancelled the request."""
        return self._cancelled

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.perf_counter() > self.deadline

    @property
    def stopped(self) -> bool:
        """Whether the engine should stop now, for either reason."""
        return self._cancelled or self.expired

    def remaining(self) -> float | None:
        """Seconds until the deadline, 0 if it has passed; None without one. At most what locks can wait."""
        return None if self.deadline is None else min(_LONGEST, max(0.0, self.deadline - time.perf_counter()))

    def check(self, text: str = "") -> None:
        """Raise GenerationTimeoutError, with the *text* so far, if the deadline has passed."""
        if self.expired:
            raise GenerationTimeoutError(self.timeout or 0.0, text)

    def cancel(self) -> None:
        """Cancel the request. Runs the callbacks, once."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def release(self) -> None:
        """Forget the callbacks: the request has ended. They refer to what refers to this token, and would keep all of
        it in memory until the garbage collector comes."""
        with self._lock:
            self._callbacks = []

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Run *callback* on cancellation, for example to interrupt a wait or to close a connection.

        If the request is cancelled already, it runs at once. It runs in the cancelling thread, must be quick, and must
        not raise.
        """
        with self._lock:
            if not self._cancelled:
                self._callbacks.append(callback)
                return
        callback()
