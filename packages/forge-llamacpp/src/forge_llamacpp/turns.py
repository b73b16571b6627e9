"""One request at a time: whose turn it is to use the engine.

The turn goes by order of arrival. Whoever has it keeps it to the end of the answer, unless its reader stays away: a
stream that nobody reads must not stop everybody else, least of all the thread that opened it and now asks for
something else. So a holder that has rested for longer than :data:`GRACE` is passed over, and gets the next turn when
it comes back.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

from llamaforge.control import Control
from llamaforge.errors import GenerationError, ModelNotLoadedError

GRACE: Final = 0.05
"""Seconds that a holder may rest while others wait."""

UNLOADED: Final = "The model was unloaded while this answer was being written."
CANCELLED: Final = "The caller left before the answer was complete."


class Turns:
    """The queue in front of one engine."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._holder: object | None = None
        self._resting_since: float | None = None
        self._closed = False

    def take(self, who: object, control: Control, *, first: bool = False) -> None:
        """Wait for *who*'s turn, and make it its own. *first* is for one that had it before.

        Raises GenerationTimeoutError once *control*'s deadline has passed, GenerationError once its caller has left,
        and ModelNotLoadedError once :meth:`close` was called.
        """
        with self._changed:
            if self._closed:
                raise ModelNotLoadedError(UNLOADED)
            if self._holder is who:
                self._resting_since = None
                return
            if first:
                self._waiting.appendleft(who)
            else:
                self._waiting.append(who)
            try:
                while not self._is_free_for(who):
                    if control.cancelled:
                        raise GenerationError(CANCELLED)
                    control.check()
                    self._changed.wait(self._patience(control))
                    if self._closed:
                        raise ModelNotLoadedError(UNLOADED)
                self._holder, self._resting_since = who, None
            finally:
                self._waiting.remove(who)
                self._changed.notify_all()

    def rest(self, who: object) -> None:
        """*who* keeps its turn, but does not use the engine until it takes it again."""
        with self._changed:
            if self._holder is who:
                self._resting_since = time.monotonic()
                if self._waiting:
                    self._changed.notify_all()

    def leave(self, who: object) -> None:
        """*who* is done."""
        with self._changed:
            if self._holder is who:
                self._holder = self._resting_since = None
                self._changed.notify_all()

    def wake(self) -> None:
        """Let everybody who waits look again whether it still has to."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Send everybody away, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_free_for(self, who: object) -> bool:
        if self._waiting[0] is not who:
            return False
        return self._holder is None or (
            self._resting_since is not None and time.monotonic() - self._resting_since >= GRACE
        )

    def _patience(self, control: Control) -> float | None:
        """How long to wait before looking again; None is until something changes."""
        until = [] if (left := control.remaining()) is None else [left]
        if self._resting_since is not None:
            until.append(max(0.0, self._resting_since + GRACE - time.monotonic()))
        return min(until, default=None)
