"""The state of a server, and how it is displayed."""

from __future__ import annotations

import enum
import re
import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

from ..forks import ForkSafeLock


class ServerState(enum.StrEnum):
    """The states of a server."""

    STARTING = "starting"
    """Its process has started."""
    DOWNLOADING = "downloading"
    """It downloads its model, according to its log."""
    LOADING = "loading"
    """It loads its model, according to its log or its health endpoint."""
    READY = "ready"
    """It has answered a request."""
    FAILED = "failed"
    """It did not become ready, or it has crashed."""
    STOPPED = "stopped"
    """It was stopped, or never started."""


HINTS: Final = (
    (ServerState.DOWNLOADING, re.compile(r"\bdownload(ing)?\b|\bfetching \d+ files", re.I)),
    (ServerState.LOADING, re.compile(r"\bload(ing)?\b|\bloaded\b|\bwarm(ing)?[ -]?up\b|\bcompil(ing|e)\b", re.I)),
)
"""What a line of a log says of the state. Only progress goes by it; a server is ready when it has answered."""


class StateTracker:
    """The state of one server, and who wants to know.

    Args:
        on_change: is told the new state and the line of the log, if it was that, which told us.
    """

    def __init__(self, on_change: Callable[[ServerState, str], None]) -> None:
        self.state = ServerState.STOPPED
        self._on_change = on_change
        self._lock = ForkSafeLock()

    def set(self, state: ServerState, line: str = "") -> None:
        """It is in *state* now."""
        with self._lock:
            changed, self.state = state != self.state, state
        if changed or line:
            self._on_change(state, line)

    def read(self, line: str) -> None:
        """Take a line of the log."""
        if self.state in (ServerState.STARTING, ServerState.DOWNLOADING, ServerState.LOADING):
            found = next((state for state, pattern in HINTS if pattern.search(line)), None)
            if found is not None:
                self.set(found, line)


class ProgressLine:
    """One line on a terminal that says how far a server is; nothing where standard error is no terminal."""

    _SPACE = 72
    _PAUSE = 0.1

    def __init__(self, server: str, stream: TextIO | None = None) -> None:
        self._server = server
        self._stream = stream if stream is not None else sys.stderr
        self._began = self._drawn = time.monotonic()
        self._on = self._stream is not None and self._stream.isatty()
        self._shown = False

    def __call__(self, state: ServerState, line: str) -> None:
        """Draw it, or take it away once there is no more to wait for."""
        if not self._on:
            return
        now = time.monotonic()
        if state in (ServerState.READY, ServerState.FAILED, ServerState.STOPPED):
            if self._shown:
                self._stream.write(f"\r{' ' * self._SPACE}\r")
                self._stream.flush()
                self._shown = False
            return
        if self._shown and now - self._drawn < self._PAUSE:
            return
        text = f"{self._server}: {state}, {now - self._began:.0f} s  {''.join(c for c in line if c.isprintable())}"
        self._stream.write("\r" + text[: self._SPACE].ljust(self._SPACE))
        self._stream.flush()
        self._drawn, self._shown = now, True
