"""What a server is told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from llamaforge.errors import InvalidParameterError

from .keys import Key

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_POSITIVE = (
    *("store_size", "max_body", "max_queue", "max_wait", "turn", "ping"),
    *("read_timeout", "write_timeout", "keep_alive_timeout", "max_connections"),
)
_ORIGIN: Final = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/?#\s@A-Z]+")
_HOST: Final = re.compile(r"[^/\s:]+|[0-9A-Fa-f.:]*:[0-9A-Fa-f.:]*:[0-9A-Fa-f.:]*")


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """The settings of a server.

    Raises InvalidParameterError for a value out of range.
    """

    models: tuple[str, ...] = ()
    """The named models to serve. Empty: all that the forge knows."""
    keys: tuple[Key, ...] = ()
    """Who may ask. Empty: everybody."""
    hosts: tuple[str, ...] = LOOPBACK
    """Names under which the server may be addressed: other ``Host`` headers are refused, which keeps web pages from
    reaching it by DNS rebinding. ``("*",)`` allows all."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that may ask, or ``("*",)``."""
    max_body: int = 20_000_000
    """Bytes of a request's body, at most."""
    max_queue: int = 128
    """Requests to one model that may run or wait at once; more are refused with 429."""
    max_wait: float = 60.0
    """Seconds that a request waits, at most, for models in use to make room for its own."""
    turn: float = 1.0
    """Seconds that a model goes on taking requests while another one waits for its room."""
    idle: float | None = None
    """Seconds after which a model that nobody uses is unloaded. None: it stays."""
    pinned: frozenset[str] = field(default_factory=frozenset)
    """Models that are loaded at the start and never unloaded to make room."""
    store_size: int = 64_000_000
    """Bytes of responses that are kept for ``previous_response_id``."""
    access_log: Literal["text", "json"] | None = None
    """How requests are logged, by the logger ``llamaforge.access``. None: they aren't."""
    read_timeout: float = 30.0
    """Seconds that a client has for its headers, and for a body; a body has longer while it comes at 10 kB a second or
    faster."""
    write_timeout: float = 60.0
    """Seconds after which a client that reads nothing of its answer is cut off."""
    keep_alive_timeout: float = 75.0
    """Seconds for which a connection without a request is kept."""
    max_connections: int = 4096
    """Connections at once. To make room, idle ones are closed; more are refused with 503."""
    ping: float = 10.0
    """Seconds of silence after which a stream sends a sign of life."""
    owns_process: bool = False
    """Whether the process does nothing but serve: then what the first load of a backend leaves in memory is hidden from
    the garbage collector (``gc.freeze``), whose looks at it would hold up all answers."""

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:  # NaN isn't
                raise InvalidParameterError(name, getattr(self, name), "a positive number")
        if self.idle is not None and not self.idle >= 0:
            raise InvalidParameterError("idle", self.idle, "seconds, at least 0")
        for name in self.hosts:
            if not _HOST.fullmatch(name):
                expected = "names without scheme and port, such as models.example.com"
                raise InvalidParameterError("hosts", name, expected)
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                expected = "origins in lower case, without a path, such as https://example.com"
                raise InvalidParameterError("cors_origins", origin, expected)
