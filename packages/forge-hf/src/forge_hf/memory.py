"""Memory: what torch keeps on a CPU, what goes back to the system, and how much a model takes."""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from llamaforge.backends.memory import MemoryUsage
from llamaforge.forks import ForkSafeLock

_KEPT = "256"
"""Enough for the steps that repeat: one per width of a step and shape of a weight; 16 callers need some 80."""
_NAMES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
"""The variables that torch's two caches read: ideep's, of each thread, and oneDNN's, of the process."""

_lock = ForkSafeLock()
_loads = 0
_ours: list[str] = []
_WORTH_IT = 2**17
"""Bytes below which the C library's own allocator is as good: it keeps them for the next ones."""
# The default on POSIX, a shared mapping, would allocate a page that is only read.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}


def zeros(shape: Sequence[int], like: Tensor) -> Tensor:
    """A tensor of zeros with the type and device of *like*.

    In the host's memory it is a mapping of its own. The C library would take large tensors from its heap, where one
    that goes leaves a hole which the next, of another size, doesn't fit; and what has not been written takes no memory
    here, so rows that are longer than their text cost nothing.

    Raises MemoryError or torch.OutOfMemoryError.
    """
    size = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < _WORTH_IT:
        return like.new_zeros(tuple(shape))
    try:
        memory = mmap.mmap(-1, size, **_PRIVATE)
    except OSError as error:
        raise MemoryError(f"no {size} bytes for keys and values") from error
    # The tensor keeps the mapping alive, and ends it.
    return torch.frombuffer(memory, dtype=like.dtype).view(tuple(shape))


def trim_heap() -> None:
    """Make glibc return freed memory to the system. By itself, it keeps any amount of freed weights for later use."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)


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


def memory_of(tensors: Iterable[Tensor]) -> MemoryUsage:
    """The bytes of *tensors* on the host and on each device; what several of them share counts once.

    Weights that accelerate keeps on disk (``device_map``) take none. Room for keys and values counts as it is reserved,
    though the system gives pages of it only as they are written.
    """
    sizes: dict[str, dict[int, int]] = {}
    for tensor in tensors:
        if tensor.is_meta:
            continue
        # The address and not the storage: a weight in a mapped file has the whole file as its storage.
        key = tensor.data_ptr() if tensor.layout is torch.strided else id(tensor)
        sizes.setdefault(str(tensor.device), {})[key] = tensor.nbytes
    totals = {device: sum(parts.values()) for device, parts in sizes.items()}
    host = totals.pop("cpu", 0)
    return MemoryUsage(host=host, devices=totals, measured=True)
