"""From the bytes of tokens to exact text."""

from __future__ import annotations

from collections.abc import Iterable

from .stops import StopMatcher
from .utf8 import Utf8Decoder


class TextAssembler:
    """UTF-8 decoding and stop strings together. Every in-process engine sends its tokens through one.

    The joined pieces are the same however the bytes are split.

    Args:
        stops: stop strings.
    """

    __slots__ = ("_decoder", "_stops")

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self._decoder = Utf8Decoder()
        self._stops = StopMatcher(stops)

    @property
    def matched(self) -> str | None:
        """The stop string that ended the text; None if none has."""
        return self._stops.matched

    def feed(self, data: bytes) -> str:
        """Add bytes. Returns the text that can be released now."""
        return self._stops.feed(self._decoder.feed(data))

    def finish(self) -> str:
        """The rest of the text, after the last token."""
        return self._stops.feed(self._decoder.finish()) + self._stops.finish()
