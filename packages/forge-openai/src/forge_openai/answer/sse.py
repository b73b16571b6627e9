"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream"""

from __future__ import annotations

from typing import Final

ServerSentEvent = tuple[str, bytes]
"""One event: its type (``message`` where the server names none) and its data."""

_BOM: Final = b"\xef\xbb\xbf"


class EventParser:
    """Bytes in, events out, the same for every way of cutting the bytes.

    An event that is not ended by an empty line is no event, as the standard has it. Each byte is looked at once, most
    of them by ``bytes.split``: the events that servers send are one line of data each.
    """

    __slots__ = ("_after_cr", "_at_start", "_data", "_line", "_type")

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._type = ""
        self._after_cr = False
        self._at_start = True

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """The events that are complete now."""
        if self._after_cr and piece:
            self._after_cr = False
            if piece.startswith(b"\n"):  # the second half of a line end that was cut in two
                piece = piece[1:]
        if b"\r" in piece:
            self._after_cr = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[ServerSentEvent] = []
        if self._line or self._data or self._type or self._at_start:
            end = piece.find(b"\n\n") + 2
            if end == 1:
                self._read_lines(piece, events)
                return events
            self._read_lines(piece[:end], events)
            piece = piece[end:]
        *blocks, rest = piece.split(b"\n\n")
        for block in blocks:
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(("message", block[6:]))
            else:
                self._read_lines(block + b"\n\n", events)
        if rest:
            self._read_lines(rest, events)
        return events

    def close(self) -> list[ServerSentEvent]:
        """The event that the end of the stream left without its empty line, if there is one.

        The standard ignores it, because it may be cut off. A caller that can tell whether it is complete may use it.
        """
        events: list[ServerSentEvent] = []
        if self._line:
            self._end_line(events)
        self._end_line(events)
        return events

    def _read_lines(self, piece: bytes, events: list[ServerSentEvent]) -> None:
        *ended, rest = piece.split(b"\n")
        for part in ended:
            self._line.append(part)
            self._end_line(events)
        if rest:
            self._line.append(rest)

    def _end_line(self, events: list[ServerSentEvent]) -> None:
        line = b"".join(self._line)
        self._line.clear()
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._data:
                events.append((self._type or "message", b"\n".join(self._data)))
            self._type, self._data = "", []
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._type = value.decode("utf-8", "replace")
