"""torch's largest library, linked while other threads go on.

The import of torch links hundreds of megabytes and holds the interpreter's lock meanwhile: no other thread of the
process gets on, and a server answers nobody. ctypes calls functions without that lock, and the system links a library
once.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

_LIBRARY: Final = "libtorch_cpu.so"
_CARDS: Final = ("libtorch_cuda.so", "libtorch_hip.so")
"""Builds with these find their libraries in another order, in which nothing was measured."""


def link_early() -> bool:
    """Link it, unless torch is imported already or is another build. Whether it was linked; the import says why not."""
    if "torch" in sys.modules:
        return False
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):
        return False
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(place) / "lib"
        if (folder / _LIBRARY).is_file() and not any((folder / name).exists() for name in _CARDS):
            dlopen = ctypes.CDLL(None).dlopen
            dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
            return dlopen(os.fsencode(folder / _LIBRARY), os.RTLD_NOW) is not None
    return False
