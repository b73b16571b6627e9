"""HTTP/1.1 responses on their way past the HTTP library.

Servers send each event as an HTTP chunk of its own, and h11, which httpx parses with, takes longer over a chunk than
all else that is done with it. So h11 gets the head of a response, and we read a chunked body from the connection.
https://www.rfc-editor.org/rfc/rfc9112.html#section-7.1
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

LAST_CHUNK: Final = b"0\r\n\r\n"
"""What the HTTP library gets for a body that we have read: it takes the connection for free again."""

_LONGEST_HEAD: Final = 1 << 17
_LONGEST_LINE: Final = 1 << 14
_MOST_HELD: Final = 1 << 16
_SHORT: Final = 3
"""Digits of a size that is remembered."""
_find_blank_line = re.compile(rb"\n\r?\n").search
_read_size = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL).fullmatch


class Inlet:
    """What has come in on a connection and not been given out.

    The HTTP library gets the head of a response and not a byte more, whatever the network put together.
    """

    __slots__ = ("_answered", "_in_head", "rest")

    def __init__(self) -> None:
        self._answered = False
        self._in_head = False
        self.rest = b""

    def request_sent(self) -> None:
        """What comes next is the head of a response."""
        self._in_head = True

    def accept(self, data: bytes) -> bytes:
        """What of *data*, the latest bytes, is to be given out now; empty: more is needed. Empty *data* is the end."""
        if not self._in_head:
            return data
        head = self.rest + data
        blank = _find_blank_line(head)
        if blank is None and data and len(head) < _LONGEST_HEAD:
            self.rest = head
            return b""
        end = blank.end() if blank is not None else len(head)
        self.rest = head[end:]
        # After an interim response (RFC 9110, section 15.2) there is another head.
        self._in_head = blank is not None and head.startswith(b"HTTP/1.1 1")
        self._answered = self._answered or blank is not None
        return head[:end]

    def take(self) -> bytes:
        """What came before and waits to be given out; empty where there is nothing, or no whole head."""
        rest, self.rest = self.rest, b""
        return self.accept(rest) if rest else b""

    @property
    def waits_again(self) -> bool:
        """Whether an answer has come before, and not a byte of the one to come."""
        return self._answered and self._in_head and not self.rest


class Outlet:
    """What is to be sent on a connection, gathered: the HTTP library hands over a request piece by piece."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def accept(self, data: bytes) -> bytes:
        """What is to be sent now. Nothing stands for the end of a request."""
        self._held += data
        return self.rest() if not data or len(self._held) > _MOST_HELD else b""

    def rest(self) -> bytes:
        """What was not sent yet."""
        held, self._held = self._held, b""
        return held


class ChunkedDecoder:
    """A chunked body's bytes in, its content out, the same for every way of cutting the bytes."""

    __slots__ = ("_left", "_line", "_sizes", "_trailers", "ended", "failure", "rest")

    def __init__(self) -> None:
        self._line = b""
        self._left = 0  # of a chunk that has begun, the line end behind it included
        self._sizes: dict[bytes, int] = {}  # those that were read already: a stream has few different ones
        self._trailers = False
        self.ended = False
        """Whether the last chunk has come, and the lines after it."""
        self.failure: str | None = None
        """What is there instead of a chunk, where the bytes are no chunked body; nothing more is read then."""
        self.rest = b""
        """What came after the body."""

    def feed(self, data: bytes) -> bytes:
        """The content that is there now."""
        parts: list[bytes] = []
        at = self._go_on(data, parts)
        if self._line:
            data, at, self._line = self._line + data[at:], 0, b""
        size = len(data)
        while at < size and not self.ended and self.failure is None:
            end = data.find(b"\r\n", at)
            if end < 0:
                self._line = data[at:]
                if len(self._line) > _LONGEST_LINE:
                    self.failure = "a line without an end"
                break
            line, at = data[at:end], end + 2
            if self._trailers:
                self.ended = not line
                continue
            length = self._sizes.get(line, -1)
            if length < 0:
                found = _read_size(line)
                if found is None:
                    self.failure = f"{line[:40]!r} instead of the size of a chunk"
                    break
                length = int(found[1], 16)
                if len(line) <= _SHORT:
                    self._sizes[line] = length
            if length == 0:
                self._trailers = True
                continue
            stop = at + length
            if stop + 2 <= size and data[stop : stop + 2] == b"\r\n":
                parts.append(data[at:stop])
                at = stop + 2
            else:
                self._left = length + 2
                at += self._go_on(data[at:], parts)
        if self.ended:
            self.rest = data[at:]
        return b"".join(parts)

    def _go_on(self, data: bytes, parts: list[bytes]) -> int:
        """Read on in a chunk that was cut; how many bytes that took."""
        content = data[: max(self._left - 2, 0)]
        if content:
            parts.append(content)
        left, used = self._left - len(content), len(content)
        if left <= 2 and left > 0:
            closing = data[used : used + left]
            if not b"\r\n"[2 - left :].startswith(closing):
                self.failure = "a chunk that is longer than its size"
            left -= len(closing)
            used += len(closing)
        self._left = left
        return used


def is_plain_chunked(status: int, headers: Mapping[str, str]) -> bool:
    """Whether a response's body is chunked and nothing else, so that we can read it."""
    return (
        status == 200
        and headers.get("transfer-encoding", "").strip().casefold() == "chunked"
        and headers.get("content-encoding", "identity").strip().casefold() in ("", "identity")
    )
