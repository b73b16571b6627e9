"""The heartbeat of a check: each time that the kit gets on, it beats. A check whose heart stands still hangs."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Final

_given_up: Final[weakref.WeakSet[threading.Thread]] = weakref.WeakSet()


class _Heart:
    """When it beat last, by ``time.perf_counter()``, and of which check."""

    last = 0.0
    check = ""


def beat() -> None:
    """The check gets on. Threads of a check that was given up don't count."""
    if not _given_up or threading.current_thread() not in _given_up:
        _Heart.last = time.perf_counter()


def last_beat() -> float:
    """When it was, by ``time.perf_counter()``."""
    return _Heart.last


def silence(threads: list[threading.Thread]) -> None:
    """These threads no longer count."""
    _given_up.update(threads)


def running(check: str) -> str:
    """*check* runs from now on. Returns the one before."""
    before, _Heart.check = _Heart.check, check
    return before


def running_check() -> str:
    """The name of the check that runs; empty if none does."""
    return _Heart.check
