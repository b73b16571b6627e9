"""A server's log: kept in a rotated file, the last lines also in memory, secrets masked in both."""

from __future__ import annotations

import contextlib
import logging.handlers
import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ..files import check_regular, is_null_device
from ..forks import ForkSafeLock
from ..secrets import MASK

LARGEST: Final = 10_000_000
"""Bytes of a log file before a new one is begun."""
KEPT: Final = 2
"""Older files beside it."""
_REMEMBERED: Final = 200
_LONGEST: Final = 4096
_END_OF_LINE: Final = re.compile(rb"[\r\n]+")


class ServerLog:
    """The log of one server.

    Logging must never affect the server: if the file can't be written, for example on a full disk, it is given up.

    Args:
        path: the file, or None for memory alone.
        secrets: texts that are masked.
        on_line: called with each line.
    """

    def __init__(
        self, path: Path | None, secrets: Sequence[str] = (), on_line: Callable[[str], None] | None = None
    ) -> None:
        self.path = path
        self._secrets = sorted((each for each in secrets if each), key=len, reverse=True)
        self._on_line = on_line
        self._lines: deque[str] = deque(maxlen=_REMEMBERED)
        self._rest = b""
        self._lock = ForkSafeLock()
        self._file: _File | None = None
        if path is not None and not is_null_device(path):
            try:
                self._file = _open(path)
            except OSError as error:
                self._lines.append(f"(the log file {path} can't be written: {error.strerror or error})")

    def feed(self, data: bytes) -> None:
        """Add output of the server: any part of a line, or many lines."""
        *lines, self._rest = _END_OF_LINE.split(self._rest + data)
        for line in lines:
            self._take(line)
        if len(self._rest) > _LONGEST:
            self._take(self._rest)
            self._rest = b""

    def finish(self) -> None:
        """End the log: the server has closed its output."""
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def discard(self) -> None:
        """Delete the files that were written."""
        if self.path is not None and self._file is not None:
            for path in (self.path, *(Path(f"{self.path}.{number}") for number in range(1, KEPT + 1))):
                with contextlib.suppress(OSError):
                    check_regular(path)
                    path.unlink()

    def tail(self, lines: int = 30) -> str:
        """The last *lines*."""
        with self._lock:
            return "\n".join([*self._lines][-lines:])

    def mask(self, text: str) -> str:
        """*text* with secrets masked."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text

    def _take(self, line: bytes) -> None:
        text = self.mask(line.decode(errors="replace").rstrip())
        if not text:
            return
        with self._lock:
            self._lines.append(text[:_LONGEST])
        if self._file is not None:
            self._file.emit(logging.makeLogRecord({"msg": text}))
        if self._on_line is not None:
            self._on_line(text)


class _File(logging.handlers.RotatingFileHandler):
    """The library's rotated file, which keeps quiet about what it can't write."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Nobody is told: the lines are in memory, too."""

    def close(self) -> None:
        """Close it, full disk or not."""
        try:
            super().close()
        except OSError:
            self.stream = None


def _open(path: Path) -> _File:
    """Open it to append. Raises OSError, also where anything but a regular file is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    check_regular(path)
    return _File(path, maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8", errors="replace")


def default_path(server: str, port: int) -> Path:
    """The default path of a server's log: a new file in the user's log folder."""
    import platformdirs

    folder = platformdirs.user_log_path("llamaforge", appauthor=False) / "servers"
    return folder / f"{server}-{os.getpid()}-{port}.log"


def prune(folder: Path, keep: int = 20) -> None:
    """Delete all but the *keep* newest logs in *folder*; logs of failed servers are kept for inspection."""
    with contextlib.suppress(OSError):
        found = sorted(folder.glob("*.log*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[keep:]:
            check_regular(path)
            path.unlink()
