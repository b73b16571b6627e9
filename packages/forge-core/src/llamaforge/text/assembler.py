"""Bytes of tokens in, exact text out."""

from __future__ import annotations

from collections.abc import Iterable

from .stops import StopMatcher
from .utf8 import Utf8Decoder


class TextAssembler:
    """UTF-8 and stop strings together: what every engine of this process sends its tokens through.

    The pieces that come out, joined, are the same for every way of cutting the bytes.
    """

    __slots__ = ("_decoder", "_stops")

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self._decoder = Utf8Decoder()
        self._stops = StopMatcher(stops)

    @property
    def matched(self) -> str | None:
        """The stop string that ended the text; None while there is none."""
        return self._stops.matched

    def feed(self, data: bytes) -> str:
        """The text that is certain after these bytes."""
        return self._stops.feed(self._decoder.feed(data))

    def finish(self) -> str:
        """The rest, once the last token has come."""
        return self._stops.feed(self._decoder.finish()) + self._stops.finish()
