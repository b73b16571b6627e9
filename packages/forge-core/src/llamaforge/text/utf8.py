"""Incremental UTF-8."""

from __future__ import annotations

import codecs

_make_decoder = codecs.getincrementaldecoder("utf-8")


class Utf8Decoder:
    """Decodes a stream of bytes exactly as if all bytes were decoded at once.

    A sequence that is split over chunks is held back until it is complete. Invalid bytes become U+FFFD, as in
    ``bytes.decode("utf-8", "replace")``; a U+FFFD in the input is passed on like any other character.
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = _make_decoder("replace")

    def feed(self, data: bytes) -> str:
        """Add bytes. Returns the characters that are complete now."""
        return self._decoder.decode(data)

    def finish(self) -> str:
        """End the text: an incomplete sequence becomes U+FFFD. The decoder can be used again afterwards."""
        tail = self._decoder.decode(b"", True)
        self._decoder.reset()
        return tail
