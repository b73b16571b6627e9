"""One HTTP exchange: its body within bounds, its answer, its stream, and whether the client is still there."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from .errors import Problem, invalid

LEAST_RATE: Final = 10_000
"""Bytes that a body of any length must have each second, once its first seconds are over."""
_DEPTH: Final = 64
_MOST: Final = 100_000
"""Fields of objects and items of lists in a body."""
_HALF: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_NO_HEADERS: Final[Mapping[str, str]] = {}


class ClientGone(Exception):
    """The client has left before its request was complete: nobody is there to be answered."""


class Exchange:
    """A request and the answer to it.

    Args:
        scope: as ASGI has it, like *receive* and *send*.
        receive: see *scope*.
        send: see *scope*.
        max_body: bytes of a body, at most.
        read_timeout: seconds that a body may take; longer while it comes at :data:`LEAST_RATE`.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, max_body: int, read_timeout: float = math.inf
    ) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._max_body = max_body
        self._read_timeout = read_timeout
        self.started = False
        self.status = 0
        self.last_sent = 0.0

    def header(self, name: str) -> str | None:
        """A header of the request."""
        wanted = name.lower().encode()
        for key, value in self.scope["headers"]:
            if key == wanted:
                found: str = value.decode("latin-1")
                return found
        return None

    async def json(self) -> dict[str, Any]:
        """The body, a JSON object.

        Raises Problem for one that is too large, too deep, no JSON, or no object; ClientGone where the client has left.
        """
        coding = self.header("content-encoding")
        if coding not in (None, "", "identity"):
            what = f"The header Content-Encoding says {coding!r}: send the body as it is, without compression."
            raise Problem(415, "invalid_request", what)
        content = await self.body()
        try:
            body = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            why = str(error).removesuffix(".")
            if _HALF.search(content):  # which msgspec calls truncated input
                why = "a text has half of a surrogate pair, as of an emoji that was cut in two"
            raise invalid(f"The body is not JSON: {why}.") from None
        except RecursionError:
            raise invalid("The body is nested too deeply.") from None
        if not isinstance(body, dict):
            raise invalid("The body must be a JSON object.")
        _check_shape(body)
        return body

    async def body(self) -> bytes:
        """The whole body. Raises Problem where it is too large or comes too slowly, ClientGone where the client has
        left."""
        said = self.header("content-length")
        if said is not None and said.isdecimal() and int(said) > self._max_body:
            raise self._too_large()
        parts, size = [], 0
        end = asyncio.get_running_loop().time() + self._read_timeout
        try:
            async with asyncio.timeout_at(end if end < math.inf else None) as limit:
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    part = message.get("body", b"")
                    size += len(part)
                    if size > self._max_body:
                        raise self._too_large()
                    parts.append(part)
                    if not message.get("more_body", False):
                        return b"".join(parts)
                    if end < math.inf:
                        limit.reschedule(end + size / LEAST_RATE)
        except TimeoutError:
            raise self._too_slow(size) from None

    async def disconnected(self) -> None:
        """Return once the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def answer(
        self,
        content: bytes,
        status: int = 200,
        headers: Mapping[str, str] = _NO_HEADERS,
        content_type: bytes = b"application/json",
    ) -> None:
        """A whole answer."""
        await self.start(status, content_type, headers, len(content))
        await self._send({"type": "http.response.body", "body": content})

    async def start(
        self,
        status: int,
        content_type: bytes,
        headers: Mapping[str, str] = _NO_HEADERS,
        length: int | None = None,
    ) -> None:
        """Status and headers."""
        self.started, self.status = True, status
        sent = [(b"content-type", content_type)]
        if length is not None:
            sent.append((b"content-length", str(length).encode()))
        sent += [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})

    async def write(self, content: bytes) -> None:
        """A piece of a stream. A client that reads slowly holds up its own stream alone."""
        self.last_sent = asyncio.get_running_loop().time()
        await self._send({"type": "http.response.body", "body": content, "more_body": True})

    async def end(self) -> None:
        """The end of a stream."""
        await self._send({"type": "http.response.body", "body": b""})

    def _too_large(self) -> Problem:
        return Problem(413, "too_large", f"The body is larger than {self._max_body:,} bytes.")

    def _too_slow(self, size: int) -> Problem:
        what = (
            f"The body is not complete: {size:,} bytes of it came. A body may take {self._read_timeout:g} seconds "
            f"(--read-timeout), and longer while {LEAST_RATE // 1000} kB come each second."
        )
        return Problem(408, "timeout", what, headers={"connection": "close"})


def _check_shape(body: dict[str, Any]) -> None:
    """Raise Problem for lists and objects that are nested too deeply, or hold too much: all of it is looked at several
    times. Lists of whole numbers alone aren't counted, since token ids are many."""
    row: list[Any] = [body]
    held = 0
    for _ in range(_DEPTH):
        inner: list[Any] = []
        for each in row:
            if type(each) is dict:
                held += len(each)
                inner += each.values()
            elif type(each) is list:
                if each and type(each[0]) is int and set(map(type, each)) == {int}:
                    continue
                held += len(each)
                inner += each
        if held > _MOST:
            raise invalid(f"The body holds too much: more than {_MOST:,} fields and items.")
        row = [each for each in inner if type(each) is dict or type(each) is list]
        if not row:
            return
    raise invalid(f"The body is nested too deeply: more than {_DEPTH} levels.")
