"""The ASGI application: its routes, and what runs beside them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from llamaforge import LlamaForge
from llamaforge.errors import LlamaForgeError

from .asked import Dialect
from .config import ServeConfig
from .dialects.anthropic import Messages
from .dialects.ollama import Chat, Generate
from .dialects.openai import ChatCompletions, Completions
from .errors import Problem
from .generation import Generation
from .guard import Guard
from .metrics import Metrics
from .models import Listings
from .page import Page
from .residency import Residency

_log = logging.getLogger(__name__)

_GENERATION: Final[dict[str, Dialect]] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
    "/v1/messages": Messages(),
    "/api/chat": Chat(),
    "/api/generate": Generate(),
}
_CORS_METHODS: Final = ("GET", "POST", "DELETE", "OPTIONS")


def dialect_of(path: str) -> Dialect:
    """The dialect that errors at *path* are told in."""
    if path in _GENERATION:
        return _GENERATION[path]
    return _GENERATION["/api/chat" if path.startswith("/api/") else "/v1/chat/completions"]


def create_app(forge: LlamaForge, config: ServeConfig | None = None) -> Starlette:
    """The application that serves the models of *forge*.

    The caller keeps the forge: the application loads models into it, and unloads none when it ends.

    Args:
        forge: the models.
        config: the settings; default: :class:`ServeConfig`'s.
    """
    config = config or ServeConfig()
    residency = Residency(forge, models=config.models, max_queue=config.max_queue, max_wait=config.max_wait)
    metrics = Metrics(forge.pool)
    listings = Listings(residency, metrics)
    routes: list[BaseRoute] = [
        Route(
            path,
            Generation(dialect, residency, metrics, max_body=config.max_body, ping=config.ping),
            methods=["POST"],
        )
        for path, dialect in _GENERATION.items()
    ]
    routes += listings.routes() + Page(residency).routes()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.ensure_future(_preload(residency, name)) for name in sorted(config.pinned)]
        if config.idle is not None:
            tasks.append(asyncio.ensure_future(_unload_idle(forge, config.idle)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    middleware = [Middleware(Guard, hosts=config.hosts, keys=config.keys, dialect_of=dialect_of)]
    if config.cors_origins:
        middleware.insert(
            0,
            Middleware(
                CORSMiddleware, allow_origins=config.cors_origins, allow_methods=_CORS_METHODS, allow_headers=["*"]
            ),
        )
    app = Starlette(
        routes=routes,
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={404: _not_served, 405: _not_served},
    )
    app.state.residency = residency
    for name in config.pinned:
        forge.pool.pin(name)
    return app


async def _not_served(request: Request, error: Exception) -> Response:
    """The answer where no route leads, in the dialect of the path."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    path = request.url.path
    what = f"{request.method} isn't served at {path}." if status == 405 else f"There is nothing at {path}."
    body = dialect_of(path).error(Problem(status, "not_found", what))
    return Response(body, status, media_type="application/json")


async def _preload(residency: Residency, name: str) -> None:
    try:
        async with residency.lease(name):
            pass
    except LlamaForgeError as error:
        _log.error("The model %r can't be loaded: %s", name, error)


async def _unload_idle(forge: LlamaForge, seconds: float) -> None:
    while True:
        await asyncio.sleep(max(1.0, min(30.0, seconds / 4)))
        await asyncio.to_thread(forge.pool.unload_idle, seconds)
