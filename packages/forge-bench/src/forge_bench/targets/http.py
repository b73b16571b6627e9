"""HTTP/1.1 with the clock at the socket's read: connections that note when bytes arrive before anything is parsed.

General clients hand a chunk through several layers before a caller can look at the clock, which costs more than all
the rest of a load test's client. Parsing is httptools' (llhttp).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec

from llamaforge.errors import ConnectionFailedError, InvalidParameterError

from ..loop import clock

_BODY_LIMIT = 10_000_000
"""Bytes that are kept of an answer that isn't streamed."""

Feed = Callable[[bytes, float], None]


class Response(msgspec.Struct):
    """An answer's status, with its body unless that was fed to a reader."""

    status: int
    body: bytes
    ended: float
    """When its last byte was read."""


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._chunked = False
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Response] | None = None
        self._feed: Feed | None = None
        self._parser: Any = None
        self._body: list[bytes] = []
        self._size = 0
        self._now = 0.0
        self._streamed = False
        self._begun = False
        self.closed = False
        self.used = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = transport  # type: ignore[assignment]

    def begin(self, head: bytes, body: bytes, feed: Feed | None) -> asyncio.Future[Response]:
        """Send a request; *feed* gets the body of a good answer as it arrives."""
        assert self._transport is not None  # noqa: S101 - it was made
        self._waiter = asyncio.get_running_loop().create_future()
        self._feed, self._body, self._size, self._begun = feed, [], 0, False
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(head + body)
        return self._waiter

    def data_received(self, data: bytes) -> None:
        """Bytes have come: the time is noted first."""
        self._now = clock()
        if self._waiter is None or self._waiter.done():
            self.close()  # nobody asked for this
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except ValueError as error:
            self._fail(error)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, ValueError) else ValueError(f"This is not HTTP: {error}"))

    def on_headers_complete(self) -> None:
        """The status is known."""
        self._streamed = self._feed is not None and self._parser.get_status_code() == 200

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._streamed:
            self._feed(body, self._now)  # type: ignore[misc]
        else:
            self._size += len(body)
            if self._size > _BODY_LIMIT:
                raise ValueError(f"The answer is longer than {_BODY_LIMIT:,} bytes.")
            self._body.append(body)

    def on_message_complete(self) -> None:
        """The answer is complete."""
        status, keep = self._parser.get_status_code(), self._parser.should_keep_alive()
        if status == 100:
            return
        if not keep:
            self.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(Response(status, b"".join(self._body), self._now))

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed it, or we did."""
        self.closed = True
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._streamed or self._body:
            parser = self._parser
            if not parser.should_keep_alive() and exc is None and not self._chunked:
                waiter.set_result(Response(parser.get_status_code(), b"".join(self._body), clock()))
                return
        stale = self.used and not self._begun
        waiter.set_exception(_StaleError() if stale else ConnectionFailedError(self._address, _lost(exc)))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Only how the body ends is of interest."""
        if name.lower() == b"transfer-encoding" and b"chunked" in value.lower():
            self._chunked = True

    def on_message_begin(self) -> None:
        """A new answer."""
        self._chunked = False

    def _fail(self, error: BaseException) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self.close()

    def close(self) -> None:
        """Close the connection now."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


class _StaleError(Exception):
    """The server had closed a kept connection before the request reached it."""


class Client:
    """Connections to one server, kept for later requests. For one event loop."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or port == -1
            or any(character in url for character in "@?# ")
        ):
            expected = "an address such as http://127.0.0.1:8000; put keys into api_key or headers"
            raise InvalidParameterError("backend", None, expected, show_value=False)
        self._host, self._secure = parts.hostname, parts.scheme == "https"
        self._port = port or (443 if self._secure else 80)
        self._path = parts.path.rstrip("/")
        self.address = f"{parts.scheme}://{parts.netloc}"
        lines = [f"Host: {parts.netloc}", "Accept: */*", "User-Agent: forge-bench"]
        for name, value in (headers or {}).items():
            if any(character in f"{name}{value}" for character in "\r\n\0"):
                raise InvalidParameterError("headers", name, "header names and values in one line", show_value=False)
            lines.append(f"{name}: {value}")
        self._lines = "\r\n".join(lines)
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()

    async def ask(
        self, method: str, path: str, content: bytes = b"", feed: Feed | None = None, *, from_root: bool = False
    ) -> Response:
        """Send a request, and wait for the end of the answer. *from_root*: *path* is the whole path.

        Raises ConnectionFailedError, or ValueError for an answer that can't be read, *feed*'s errors included.
        """
        head = f"{method} {'' if from_root else self._path}{path} HTTP/1.1\r\n{self._lines}\r\n"
        if content:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        encoded = f"{head}\r\n".encode("latin-1")
        while True:
            connection = await self._connection()
            try:
                response = await connection.begin(encoded, content, feed)
            except _StaleError:
                continue
            except BaseException:
                connection.close()
                raise
            finally:
                self._open.discard(connection)
            if not connection.closed:
                connection.used = True
                self._idle.append(connection)
            return response

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                self._open.add(connection)
                return connection
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context() if self._secure else None
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(self.address), self._host, self._port, ssl=context
            )
        except OSError as error:
            raise ConnectionFailedError(self.address, str(error.strerror or error)) from None
        self._open.add(connection)
        return connection

    def close(self) -> None:
        """Close all connections."""
        for connection in (*self._idle, *self._open):
            connection.close()
        self._idle.clear()
        self._open.clear()


def _lost(error: Exception | None) -> str:
    return "it closed the connection before the answer was complete" + (f" ({error})" if error else "")
