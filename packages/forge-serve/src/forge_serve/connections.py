"""Connections over HTTP that nobody can hold for ever: bounds on heads, on senders and readers that are slow, and on
how many there are at once."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import resource
from collections.abc import Callable
from typing import Any, ClassVar, Final

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .asked import Voice
from .config import ServeConfig
from .errors import Problem
from .exchange import Exchange
from .parser import RequestParser
from .service import Service

_log = logging.getLogger(__name__)

LARGEST_HEAD: Final = 64 * 1024
"""Bytes of a request line with its headers that are waited for, at most."""
_LOOKS: Final = 8
"""Looks at all connections in the time of the shortest limit; at most one each second."""
_REFUSING: Final = 64
"""Connections above the limit that are answered with 503. More are cut off, since each takes a file, too."""
_OTHER_FILES: Final = 256
"""Files that are left for models and their servers."""


class _Reading(enum.Enum):
    """What a connection's client sends next."""

    NOTHING = "nothing"
    """Its last request is complete, or it hasn't begun one."""
    HEAD = "head"
    BODY = "body"


class Connections:
    """The open connections of one server.

    Args:
        service: has the settings in force.
        voice_of: the dialect that a path's errors are told in.
    """

    def __init__(self, service: Service, voice_of: Callable[[str], Voice]) -> None:
        self._service = service
        self._voice_of = voice_of
        self._open: set[Connection] = set()
        self._looking = False
        self.protocol: type[Connection] = type("Connection", (Connection,), {"all": self})
        """What uvicorn makes for each connection."""

    @property
    def config(self) -> ServeConfig:
        """The settings in force."""
        return self._service.config

    def voice_of(self, path: str) -> Voice:
        """The dialect that a path's errors are told in."""
        return self._voice_of(path)

    def add(self, connection: Connection) -> bool:
        """A connection has come; whether there is room for it. The one that has been idle the longest makes room."""
        self._open.add(connection)
        if not self._looking:
            self._looking = True
            self._look_later()
        above = len(self._open) - self.config.max_connections
        if above <= 0:
            return True
        if above > _REFUSING:
            connection.transport.abort()
            return False
        idle = [each for each in self._open if each.is_idle and each is not connection]
        if not idle:
            return False
        min(idle, key=lambda each: each.since).transport.close()
        return True

    def remove(self, connection: Connection) -> None:
        """It has ended."""
        self._open.discard(connection)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application of a connection that there is no room for."""
        if scope["type"] != "http":
            return
        what = f"The server has as many connections as it takes ({self.config.max_connections}, --max-connections)."
        found = Problem(503, "overloaded", what, headers={"retry-after": "1", "connection": "close"})
        content = self._voice_of(scope["path"]).error(found)
        await Exchange(scope, receive, send, 0).answer(content, found.status, found.headers)

    def _look_later(self) -> None:
        config = self.config
        shortest = min(config.read_timeout, config.write_timeout, config.keep_alive_timeout)
        asyncio.get_running_loop().call_later(min(1.0, shortest / _LOOKS), self._look)

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._open):
            connection.check(now)
        self._looking = bool(self._open)
        if self._looking:
            self._look_later()


class Connection(HttpToolsProtocol):
    """One connection. Its limits are looked at from outside, so that requests pay nothing for them.

    The body of a request is not its business as long as somebody reads it: :meth:`.Exchange.body` has a limit.
    """

    all: ClassVar[Connections]

    reading = _Reading.NOTHING
    since = 0.0
    """When the client began to send that, or the last answer ended, by the event loop's clock."""
    _head = 0
    """Bytes since the last request."""
    _ended = False
    """Whether a request ended in the data that is being parsed."""
    _stalled: float | None = None
    """Since when what was written is known to wait for the client to read it."""

    @property
    def is_answering(self) -> bool:
        """Whether a request is being answered."""
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    @property
    def is_idle(self) -> bool:
        """Whether it could be closed without a loss."""
        return self.reading is _Reading.NOTHING and not self.is_answering and not self.transport.is_closing()

    def check(self, now: float) -> None:
        """End the connection if its client holds it without need."""
        config = self.all.config
        if self.transport.is_closing() or self.flow.write_paused:
            if self._stalled is None:
                self._stalled = now
            elif now - self._stalled >= config.write_timeout:
                self.transport.abort()
        elif not self.is_answering:
            limit = config.keep_alive_timeout if self.reading is _Reading.NOTHING else config.read_timeout
            if now - self.since < limit:
                return
            if self.reading is _Reading.HEAD:
                what = f"The headers were not complete after {limit:g} seconds (--read-timeout)."
                self._refuse(Problem(408, "timeout", what))
            else:
                self.transport.close()

    def connection_made(self, transport: Any) -> None:
        """It begins."""
        super().connection_made(transport)
        self.parser: Any = RequestParser(self)
        self.since = self.loop.time()
        if not self.all.add(self):
            self.app = self.all.refuse

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self.all.remove(self)
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """The client has read."""
        self._stalled = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse *data*."""
        self._ended = False
        super().data_received(data)
        if self.reading is _Reading.HEAD and not self._ended:  # otherwise it began with a body
            self._head += len(data)
            if self._head > LARGEST_HEAD and not self.transport.is_closing():
                what = f"The request line and the headers are larger than {LARGEST_HEAD:,} bytes."
                self._refuse(Problem(431, "invalid_request", what))

    def on_message_begin(self) -> None:
        """A request line comes."""
        self.reading, self.since, self._head = _Reading.HEAD, self.loop.time(), 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The body comes next."""
        self.reading = _Reading.BODY
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Another request may follow."""
        if self.parser.skipped_body:
            return
        self.reading, self._ended = _Reading.NOTHING, True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer has been given."""
        self.since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser understood nothing."""
        self._refuse(Problem(400, "invalid_request", "This is not a request of HTTP/1.1."))

    def _refuse(self, found: Problem) -> None:
        """Answer what is no complete request, and close; amid another answer only close."""
        if not self.is_answering:
            url = self.url if self.reading is _Reading.HEAD else b""
            voice = self.all.voice_of(url.partition(b"?")[0].decode("latin-1"))
            content = voice.error(found)
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(content)
            self.transport.write(STATUS_LINE[found.status] + head + content)
        self.transport.close()


def connections_possible(wanted: int) -> int:
    """*wanted*, or as many connections as there are files for. Raises the process's limit of open files if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _REFUSING + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    possible = max(1, wanted - (needed - soft))
    _log.warning(
        "%d connections are possible instead of %d: this process may open %d files (ulimit -n).", possible, wanted, soft
    )
    return possible
