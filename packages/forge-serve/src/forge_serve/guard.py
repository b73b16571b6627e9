"""Who may ask: the ``Host`` header and the key are looked at before anything else."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from .asked import Dialect
from .errors import Problem
from .exchange import Exchange
from .keys import Key, allowed
from .keys import Scope as KeyScope

_OPEN = frozenset({"/health", "/ready", "/", "/favicon.svg"})
"""Paths that need no key: they say nothing but that the server is there."""
_PAGE = "/assets/"
"""Where the files of the page are, which need none either: it asks for one itself."""


class Guard:
    """Refuses strangers.

    Args:
        app: what it guards.
        hosts: names under which the server may be addressed, or ``("*",)``.
        keys: who may ask; empty: everybody.
        dialect_of: the dialect that a path's errors are told in.
    """

    def __init__(
        self, app: ASGIApp, *, hosts: tuple[str, ...], keys: tuple[Key, ...], dialect_of: Callable[[str], Dialect]
    ) -> None:
        self._app = app
        self._dialect_of = dialect_of
        self._hosts = None if "*" in hosts else frozenset(host.lower() for host in hosts)
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            exchange = Exchange(scope, receive, send, 0)
            refused = self._refused(exchange)
            if refused is not None:
                dialect = self._dialect_of(scope["path"])
                await exchange.answer(dialect.error(refused), refused.status, refused.headers)
                return
        await self._app(scope, receive, send)

    def _refused(self, exchange: Exchange) -> Problem | None:
        if self._hosts is not None and _host(exchange.header("host") or "") not in self._hosts:
            return Problem(
                403,
                "permission",
                "This server isn't addressed by that name. Start it with --allow-host NAME to permit it.",
            )
        path = exchange.scope["path"]
        if not self._keys or path in _OPEN or path.startswith(_PAGE) or exchange.scope["method"] == "OPTIONS":
            return None
        wanted: KeyScope = "admin" if path.startswith("/admin/") or path == "/metrics" else "use"
        permitted = allowed(self._keys, _secret(exchange), wanted)
        if permitted is None:
            return Problem(
                401,
                "authentication",
                "A valid API key is needed: send it as `Authorization: Bearer KEY`.",
                headers={"www-authenticate": "Bearer"},
            )
        return None if permitted else Problem(403, "permission", f"This key lacks the scope {wanted!r}.")


def _secret(exchange: Exchange) -> str | None:
    bearer = exchange.header("authorization") or ""
    if bearer[:7].lower() == "bearer ":
        return bearer[7:].strip()
    return exchange.header("x-api-key")


def _host(header: str) -> str:
    """The name in a ``Host`` header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.rpartition(":")[0].lower() if header.count(":") == 1 else header.lower()
