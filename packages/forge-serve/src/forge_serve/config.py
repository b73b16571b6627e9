"""What a server is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from llamaforge.errors import InvalidParameterError

from .keys import Key

LOOPBACK = ("127.0.0.1", "localhost", "::1")


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
    store: int = 64_000_000
    """Bytes of responses that are kept for ``previous_response_id``."""
    access_log: Literal["text", "json"] | None = None
    """How requests are logged, by the logger ``llamaforge.access``. None: they aren't."""
    ping: float = 10.0
    """Seconds of silence after which a stream sends a sign of life."""

    def __post_init__(self) -> None:
        for name in ("store", "max_body", "max_queue", "max_wait", "turn", "ping"):
            if not getattr(self, name) > 0:  # NaN isn't
                raise InvalidParameterError(name, getattr(self, name), "a positive number")
        if self.idle is not None and not self.idle >= 0:
            raise InvalidParameterError("idle", self.idle, "seconds, at least 0")
