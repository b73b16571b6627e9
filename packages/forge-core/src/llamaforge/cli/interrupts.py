"""Ctrl-C while a model answers: the engine ends its step and stops; it is never torn out of the middle of one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from ..streams import TextStream


class Interruptible:
    """While this is entered, the first Ctrl-C cancels *stream*, which then ends as if the answer were complete.

    Another one, where the engine does not react, raises KeyboardInterrupt as usual.
    """

    def __init__(self, stream: TextStream) -> None:
        self._stream = stream
        self._before: Any = None
        self.pressed = False
        """Whether Ctrl-C was pressed."""

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # only there Python hears signals
            self._before = signal.signal(signal.SIGINT, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
        # A thread of its own: this one may hold, just now, a lock that cancelling needs.
        threading.Thread(target=self._stream.cancel, name="llamaforge-cancel", daemon=True).start()
