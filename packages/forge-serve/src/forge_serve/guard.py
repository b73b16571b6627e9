"""Who may ask: the ``Host`` header and the key are looked at before anything else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from .asked import Voice
from .errors import Problem
from .exchange import Exchange
from .keys import Scope as KeyScope
from .keys import allowed
from .service import Service

_METHODS = ("GET", "POST", "DELETE", "OPTIONS")
_EXPOSED = ("llamaforge-ignored", "retry-after")
"""What of our headers the scripts of those pages may read."""
_OPEN = frozenset({"/health", "/ready", "/", "/favicon.svg"})
"""Paths that need no key: they say nothing but that the server is there."""
_PAGE = "/assets/"
"""Where the files of the page are, which need none either: it asks for one itself."""


class Guard:
    """Refuses strangers.

    Args:
        app: what it guards.
        service: has the settings: names under which the server may be addressed, keys, origins of web pages.
        voice_of: the dialect that a path's errors are told in.
    """

    def __init__(self, app: ASGIApp, *, service: Service, voice_of: Callable[[str], Voice]) -> None:
        self._app = app
        self._service = service
        self._voice_of = voice_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            exchange = Exchange(scope, receive, send, 0)
            refused = self._refused(exchange)
            if refused is not None:
                voice = self._voice_of(_path(scope))
                await exchange.answer(voice.error(refused), refused.status, refused.headers)
                return
        await self._app(scope, receive, send)

    def _refused(self, exchange: Exchange) -> Problem | None:
        config = self._service.config
        host = exchange.header("host") or ""
        if "*" not in config.hosts and _host(host) not in map(str.lower, config.hosts):
            return Problem(
                403,
                "permission",
                "This server isn't addressed by that name. Start it with --allow-host NAME to permit it.",
            )
        origin = exchange.header("origin")
        if origin is not None and not self._is_ours(origin, host):
            return Problem(
                403,
                "permission",
                "Web pages from there may not use this server. Start it with --cors-origin ORIGIN to permit it.",
            )
        path = _path(exchange.scope)
        if not config.keys or path in _OPEN or path.startswith(_PAGE) or exchange.scope["method"] == "OPTIONS":
            return None
        wanted: KeyScope = "admin" if path.startswith("/admin/") or path == "/metrics" else "use"
        permitted = allowed(config.keys, _secret(exchange), wanted)
        if permitted is None:
            return Problem(
                401,
                "authentication",
                "A valid API key is needed: send it as `Authorization: Bearer KEY`.",
                headers={"www-authenticate": "Bearer"},
            )
        return None if permitted else Problem(403, "permission", f"This key lacks the scope {wanted!r}.")

    def _is_ours(self, origin: str, host: str) -> bool:
        """Whether a web page of that origin may ask: it came from here, or is named in the settings. A page from
        elsewhere can't read answers, but what it asks for would be done."""
        permitted = self._service.config.cors_origins
        if "*" in permitted or origin in permitted:
            return True
        with contextlib.suppress(ValueError):  # http://[ is no URL
            return urlsplit(origin).netloc.lower() == host.lower()
        return False


def _path(scope: Scope) -> str:
    """The path within this application, which may be mounted in another one: the whole path then begins with that
    place."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


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


class Cors:
    """Lets web pages of the origins in the settings read answers (https://fetch.spec.whatwg.org/#http-cors-protocol).

    Args:
        app: what is behind it.
        service: has the settings.
    """

    def __init__(self, app: ASGIApp, *, service: Service) -> None:
        self._app = app
        self._service = service
        self._origins: tuple[str, ...] = ()
        self._permitting: ASGIApp = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        origins = self._service.config.cors_origins
        if origins != self._origins:
            self._origins = origins
            self._permitting = (
                CORSMiddleware(
                    self._app,
                    allow_origins=origins,
                    allow_methods=_METHODS,
                    allow_headers=["*"],
                    expose_headers=_EXPOSED,
                )
                if origins
                else self._app
            )
        await self._permitting(scope, receive, send)
