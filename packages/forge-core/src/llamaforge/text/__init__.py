"""Exact text from tokens: incremental UTF-8 decoding and stop strings, independent of how the bytes were split."""

from __future__ import annotations

from .assembler import TextAssembler
from .buffer import TextBuffer
from .stops import StopMatcher
from .utf8 import Utf8Decoder

__all__ = ["StopMatcher", "TextAssembler", "TextBuffer", "Utf8Decoder"]
