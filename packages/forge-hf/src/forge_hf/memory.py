"""Memory that goes back to the system as soon as nobody needs it."""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

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
    """Let glibc give back what was freed. By itself it keeps freed weights, of any number, for whoever comes next."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
