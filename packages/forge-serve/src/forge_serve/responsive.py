"""Answers go on while models load."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
from collections.abc import Iterator
from typing import Final

_TURN: Final = 0.0005
_NEVER: Final = 2**31 - 1
_lock = threading.Lock()
_usual: list[tuple[float, tuple[int, int, int]]] = []
"""The interpreter's usual turn and the collector's usual thresholds, once for each load under way."""


@contextlib.contextmanager
def responsive() -> Iterator[None]:
    """Let answers go on while this thread loads a model, which is work of Python's for the greater part.

    Threads take the interpreter's lock in turns of half a millisecond instead of five. And the garbage collector leaves
    old objects alone: importing transformers makes a million of them, and to look at them all, which it does several
    times meanwhile, holds up every thread for up to a fifth of a second.
    """
    with _lock:
        turn, thresholds = _usual[0] if _usual else (sys.getswitchinterval(), gc.get_threshold())
        _usual.append((turn, thresholds))
        sys.setswitchinterval(min(_TURN, turn))
        gc.set_threshold(*thresholds[:2], _NEVER)
    try:
        yield
    finally:
        with _lock:
            turn, thresholds = _usual.pop()
            if not _usual:
                sys.setswitchinterval(turn)
                gc.set_threshold(*thresholds)
