"""Aborting a computation from another thread."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

from llama_cpp import llama_cpp as lib

_libc = ctypes.CDLL("msvcrt") if sys.platform == "win32" else ctypes.CDLL(None)
IS_RAISED: Final = ctypes.cast(_libc.strlen, lib.ggml_abort_callback)
"""llama.cpp's abort callback: whether the text at an address is longer than nothing. The engine asks before each of the
thousand operations of a step; asking C and not Python keeps that free of the interpreter's lock."""


class AbortFlag:
    """Asked for by :data:`IS_RAISED` at :attr:`address`. Any thread may set it."""

    def __init__(self) -> None:
        self._text = ctypes.create_string_buffer(2)
        self.address = ctypes.addressof(self._text)

    def set(self, wanted: bool) -> None:
        """Break off what is computed, now or later, or (False) no longer."""
        self._text[0] = b"\x01" if wanted else b"\x00"
