"""Incremental UTF-8."""

from __future__ import annotations

import codecs

_make_decoder = codecs.getincrementaldecoder("utf-8")


class Utf8Decoder:
    """Turn a stream of bytes into text, exactly as if all bytes had come at once.

    A sequence that is split over chunks is held until it is whole; bytes that are no UTF-8 become U+FFFD, as in
    ``bytes.decode("utf-8", "replace")``; a U+FFFD that was really sent passes like any other character.
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = _make_decoder("replace")

    def feed(self, data: bytes) -> str:
        """The characters that are complete now."""
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What was still held; an incomplete sequence becomes U+FFFD. The decoder is as new afterwards."""
        tail = self._decoder.decode(b"", True)
        self._decoder.reset()
        return tail
