"""The ASGI application: its routes, and what runs beside them."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from llamaforge import LlamaForge, observers
from llamaforge.errors import LlamaForgeError

from .access_log import AccessLog
from .admin import Admin
from .asked import Dialect, Voice, WorkDialect
from .cards import Cards
from .config import ServeConfig
from .dialects.anthropic import Messages
from .dialects.ollama import Chat, Generate
from .dialects.openai import ChatCompletions, Completions
from .dialects.rerank import CohereRerank, Rerank
from .dialects.responses import Responses
from .dialects.tokens import ApplyTemplate, CountTokens, Detokenize, Tokenize
from .dialects.vectors import OllamaEmbed, OllamaEmbeddings, OpenAIEmbeddings
from .errors import UNFORESEEN, Problem, problem
from .generation import Generation
from .guard import Cors, Guard
from .metrics import Metrics
from .models import Listings
from .ollama_models import OllamaListings
from .openapi import routes_of
from .page import Page
from .residency import Residency
from .service import Service
from .store import Store
from .stored_responses import ResponsesEndpoint, StoredResponses
from .watch import Watch
from .work import Working

_GENERATION: Final[dict[str, Dialect]] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": Completions(),
    "/v1/messages": Messages(),
    "/api/chat": Chat(),
    "/api/generate": Generate(),
}
_WORK: Final[dict[str, WorkDialect]] = {
    "/v1/embeddings": OpenAIEmbeddings(),
    "/v1/rerank": Rerank(),
    "/v2/rerank": CohereRerank(),
    "/v1/messages/count_tokens": CountTokens(),
    "/tokenize": Tokenize(),
    "/detokenize": Detokenize(),
    "/apply-template": ApplyTemplate(),
    "/api/embed": OllamaEmbed(),
    "/api/embeddings": OllamaEmbeddings(),
}
_LOOK: Final = 1.0
"""Seconds between two looks for models that have been idle for too long."""


def voice_of(path: str) -> Voice:
    """The dialect that errors at *path* are told in."""
    found: Voice | None = _GENERATION.get(path) or _WORK.get(path)
    if found is not None:
        return found
    if path.startswith("/v1/messages/"):
        return _GENERATION["/v1/messages"]
    return _GENERATION["/api/chat" if path.startswith("/api/") else "/v1/chat/completions"]


def create_app(forge: LlamaForge, config: ServeConfig | None = None) -> Starlette:
    """The application that serves the models of *forge*.

    The caller keeps the forge: the application loads models into it, and unloads none when it ends.

    Args:
        forge: the models.
        config: the settings; default: :class:`ServeConfig`'s.
    """
    config = config or ServeConfig()
    watch = Watch(forge.progress)
    forge.progress = watch.report
    residency = Residency(forge, config, watch)
    metrics = Metrics(forge.pool, residency.waiting)
    service = Service(forge, config, residency, metrics, watch, Store(config.store_size))
    cards = Cards(residency)
    routes: list[BaseRoute] = [
        *(Route(path, Generation(dialect, service), methods=["POST"]) for path, dialect in _GENERATION.items()),
        *(Route(path, Working(dialect, service), methods=["POST"]) for path, dialect in _WORK.items()),
        Route("/v1/responses", ResponsesEndpoint(Responses(service.responses), service), methods=["POST"]),
        *StoredResponses(service).routes(),
        *Listings(service, cards).routes(),
        *OllamaListings(service, cards).routes(),
        *Admin(service, cards).routes(),
        *Page().routes(),
    ]
    routes += routes_of(routes, voice_of)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        for name in sorted(config.pinned):
            residency.preload(name)
        observers.attach(metrics)
        unloading = asyncio.ensure_future(_unload_idle(residency))
        try:
            yield
        finally:
            unloading.cancel()
            observers.detach(metrics)

    middleware = [Middleware(Cors, service=service), Middleware(Guard, service=service, voice_of=voice_of)]
    if config.access_log is not None:
        middleware.insert(0, Middleware(AccessLog, form=config.access_log))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={404: _not_served, 405: _not_served, LlamaForgeError: _failed, Exception: _failed},
    )
    app.router.redirect_slashes = False  # such a redirect has the wrong scheme behind a proxy
    app.state.service = service
    observers.attach(metrics)
    weakref.finalize(app, observers.detach, metrics)  # within another application it has no lifespan
    for name in config.pinned:
        residency.pin(name)
    return app


async def _not_served(request: Request, error: Exception) -> Response:
    """The answer where no route leads, in the dialect of the path."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    path = request.url.path
    what = f"{request.method} isn't served at {path}." if status == 405 else f"There is nothing at {path}."
    body = voice_of(path).error(Problem(status, "not_found", what))
    headers = error.headers if isinstance(error, HTTPException) else None  # Allow, with 405
    return Response(body, status, headers, media_type="application/json")


async def _failed(request: Request, error: Exception) -> Response:
    """The answer where a list or description fails, in the dialect of the path. uvicorn logs what nobody foresaw."""
    told = problem(error) if isinstance(error, LlamaForgeError) else Problem(500, "internal", UNFORESEEN)
    body = voice_of(request.url.path).error(told)
    return Response(body, told.status, told.headers, media_type="application/json")


async def _unload_idle(residency: Residency) -> None:
    while True:
        await asyncio.sleep(_LOOK)
        await residency.unload_idle()
