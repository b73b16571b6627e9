"""The bytes of one answer as events: parsed, decoded, read."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from llamaforge.errors import LlamaForgeError, ServerError
from llamaforge.results import Event

from ..errors import Translator
from .chunks import Chunk
from .reader import AnswerReader
from .sse import EventParser

DONE: Final = b"[DONE]"
EXCERPT: Final = 300
"""How much of what a server sent a message shows, in bytes."""

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are no JSON, or JSON that is nested without end."""

_decode = msgspec.json.Decoder(Chunk).decode


def read_json(data: bytes) -> Any:
    """*data* decoded; as text, where it is no JSON."""
    try:
        return msgspec.json.decode(data)
    except UNREADABLE:
        return data.decode("utf-8", "replace")


class AnswerDecoder:
    """Bytes in, events out.

    Args:
        reader: what makes events of chunks.
        translator: makes our errors.
    """

    __slots__ = ("_parser", "_reader", "_translator", "is_over")

    def __init__(self, reader: AnswerReader, translator: Translator) -> None:
        self._parser = EventParser()
        self._reader = reader
        self._translator = translator
        self.is_over = False
        """Whether nothing is left to be read: the server has said so, or a stop string has."""

    @property
    def text(self) -> str:
        """What has come so far."""
        return str(self._reader.text)

    @property
    def leaves(self) -> bool:
        """Whether the server would go on, so that only closing the connection ends its work."""
        return self._reader.is_over

    def feed(self, data: bytes, events: list[Event]) -> LlamaForgeError | None:
        """Append to *events* those that are complete now.

        What is wrong with the answer is returned, so that the events before it still come out.
        """
        read, may_end = self._reader.read, self._reader.has_stops
        for kind, sent in self._parser.feed(data):
            if sent == DONE:
                self.is_over = True
                return None
            try:
                chunk = _decode(sent)
            except UNREADABLE as error:
                return self._no_chunk(sent, error)
            if chunk.error or chunk.object == "error" or kind == "error":
                return self._translator.answer_error(None, read_json(sent))
            read(chunk, events)
            if may_end and self._reader.is_over:
                self.is_over = True
                return None
        return None

    def finish(self) -> list[Event]:
        """The last events, once the stream is at its end. Raises what :meth:`.reader.AnswerReader.finish` does."""
        return self._reader.finish()

    def _no_chunk(self, sent: bytes, error: Exception) -> ServerError:
        shown = sent[:EXCERPT].decode("utf-8", "replace")
        reason = self._translator.clean(f"it sent an event that is no chunk ({error}): {shown}")
        return ServerError(self._translator.address, None, reason)
