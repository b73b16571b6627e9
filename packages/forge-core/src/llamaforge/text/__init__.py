"""Exact text from engines: bytes and stop strings in, the same text out whatever the chunks were."""

from __future__ import annotations

from .assembler import TextAssembler
from .buffer import TextBuffer
from .stops import StopMatcher
from .utf8 import Utf8Decoder

__all__ = ["StopMatcher", "TextAssembler", "TextBuffer", "Utf8Decoder"]
