"""The engine's log: into :mod:`logging`, never onto standard output, and at hand when a reason is wanted.

llama.cpp has one log callback for the whole process. It is set once, when the engine is first used.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from llama_cpp import llama_cpp as lib

from llamaforge.forks import ForkSafeLock

logger = logging.getLogger("forge_llamacpp")

_LEVELS: Final = {1: logging.DEBUG, 2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
"""ggml's levels, from ggml.h. 5 continues the line before."""
_CONTINUES: Final = 5

_BUFFER: Final = "buffer size"
_KEPT: Final = 8
"""Lines of an error's reason, at most."""


class _Thread(threading.local):
    """What a thread is in the middle of: llama.cpp logs in the thread that called it."""

    def __init__(self) -> None:
        self.level = logging.INFO
        self.line = ""
        self.troubles: deque[str] | None = None
        self.quiet = False
        self.kept: list[str] | None = None


_thread = _Thread()


def _receive(level: int, text: bytes, _: Any) -> None:
    if level != _CONTINUES:
        _thread.level = _LEVELS.get(level, logging.INFO)
    if _thread.level < logging.WARNING and _thread.kept is None and not logger.isEnabledFor(_thread.level):
        return
    *lines, _thread.line = (_thread.line + text.decode("utf-8", "replace")).split("\n")
    for line in lines:
        if line.strip():
            _emit(_thread.level, line.rstrip())


def _emit(level: int, line: str) -> None:
    if _thread.kept is not None and _BUFFER in line:
        _thread.kept.append(line)
    if level >= logging.WARNING and _thread.troubles is not None:
        _thread.troubles.append(line)
        level = logging.DEBUG if _thread.quiet else level
    logger.log(level, "%s", line)


_callback: Final = lib.llama_log_callback(_receive)  # kept for as long as the engine may call it


def connect() -> None:
    """Send the engine's log to :data:`logger`; once is enough."""
    lib.llama_log_set(_callback, None)


class troubles:  # noqa: N801 - it is used like a function
    """Collect the warnings and errors that the engine logs in this thread meanwhile: the last few lines.

    With *quiet* the log has them for debugging only: llama.cpp warns where a step is broken off or does not fit, which
    is all in a day's work here, and what fails is told by an exception.
    """

    __slots__ = ("_before", "_quiet")

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def __enter__(self) -> deque[str]:
        self._before = _thread.troubles, _thread.quiet
        collected: deque[str] = deque(maxlen=_KEPT)
        _thread.troubles, _thread.quiet = collected, self._quiet
        return collected

    def __exit__(self, *_: object) -> None:
        _thread.troubles, _thread.quiet = self._before


@contextlib.contextmanager
def buffer_lines() -> Iterator[list[str]]:
    """Keep the lines about buffers that the engine logs in this thread meanwhile."""
    kept: list[str] = []
    _thread.kept = kept
    try:
        yield kept
    finally:
        _thread.kept = None


_verbose_lock: Final = ForkSafeLock()
_verbose_users = 0
_verbose_handler: logging.Handler | None = None
_level_before = logging.NOTSET


def show() -> None:
    """Let the log go to standard error until :func:`hide` was called as often."""
    global _verbose_users, _verbose_handler, _level_before
    with _verbose_lock:
        if _verbose_users == 0:
            _level_before = logger.level
            _verbose_handler = logging.StreamHandler(sys.stderr)
            logger.addHandler(_verbose_handler)
            logger.setLevel(logging.INFO)
        _verbose_users += 1


def hide() -> None:
    """Undo one :func:`show`."""
    global _verbose_users, _verbose_handler
    with _verbose_lock:
        _verbose_users -= 1
        if _verbose_users == 0 and _verbose_handler is not None:
            logger.removeHandler(_verbose_handler)
            logger.setLevel(_level_before)
            _verbose_handler = None
