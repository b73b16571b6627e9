"""Memory that is used from many threads and must not go away under any of them."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from llamaforge.errors import ModelNotLoadedError


class Lease:
    """Holds off :meth:`end` while anybody is inside a ``with`` block of it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users = 0
        self._ended = False

    def __enter__(self) -> None:
        with self._changed:
            if self._ended:
                raise ModelNotLoadedError()
            self._users += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._users -= 1
            if self._ended:
                self._changed.notify_all()

    def end(self, patience: float) -> bool:
        """Let nobody in any more, and wait until all are out; False where some are not after *patience* seconds."""
        until = time.monotonic() + patience
        with self._changed:
            self._ended = True
            while self._users:
                if not self._changed.wait(max(0.0, until - time.monotonic())) and time.monotonic() >= until:
                    return False
            return True
