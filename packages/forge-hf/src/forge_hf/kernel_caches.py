"""How many compiled kernels torch keeps on a processor."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_KEPT = "256"
"""Enough for the steps that repeat: one per width of a step and shape of a weight; 16 callers need some 80."""
_NAMES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
"""The variables that torch's two caches read: ideep's, of each thread, and oneDNN's, of the process."""

_lock = threading.Lock()
_loads = 0
_ours: list[str] = []


@contextmanager
def fewer_kernels() -> Iterator[None]:
    """Let the thread that computes here first keep 256 kernels instead of 1,024.

    In 16-bit types torch compiles a kernel for each shape of a matrix product. Texts come in all lengths, so by default
    hundreds of megabytes gather. torch reads the limits when it computes for the first time: oneDNN's in the process,
    ideep's in the thread. So the variables are only there while a model is loaded and tried out, and other threads of
    the host keep what they had. A limit set by the user stays.
    """
    global _loads
    with _lock:
        _loads += 1
        for name in _NAMES:
            if name not in os.environ:
                os.environ[name] = _KEPT
                _ours.append(name)
    try:
        yield
    finally:
        with _lock:
            _loads -= 1
            while _ours and not _loads:
                os.environ.pop(_ours.pop(), None)
