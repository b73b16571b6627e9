"""Administration: which models are in memory. Paths that begin with ``/admin/`` need a key's scope ``admin``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from llamaforge.backends.config_schema import config_schema
from llamaforge.errors import ModelNotLoadedError

from . import sse
from .asked import needed, take
from .cards import Cards
from .dialects.openai import OpenAIVoice
from .exchange import Exchange
from .service import Service
from .work import Answering

_PING = 10.0
"""Seconds of silence after which a stream of events sends a sign of life."""


class Admin:
    """``/admin``: models with all that is known of them, loading, unloading, pins, and events."""

    def __init__(self, service: Service, cards: Cards) -> None:
        self._service = service
        self._residency = service.residency
        self._cards = cards

    def routes(self) -> list[Route]:
        """All of them."""
        voice, service = OpenAIVoice(), self._service
        posts = {"load": self.load, "unload": self.unload, "pin": self.pin, "unpin": self.unpin, "schema": self.schema}
        return [
            Route("/admin/models", _Gets(self._models), methods=["GET"]),
            Route("/admin/events", _Events(service, self._cards), methods=["GET"]),
            *(
                Route(f"/admin/{name}", Answering(voice, service, answer), methods=["POST"])
                for name, answer in posts.items()
            ),
        ]

    def _models(self) -> dict[str, Any]:
        return overview(self._service, self._cards)

    async def load(self, body: dict[str, Any]) -> Any:
        """Load a model: ``{"model": name}``; with ``"wait": false`` without waiting for it. Answers with its card."""
        entry = self._residency.entry(needed(body, "model", str, "a model's name"))
        if take(body, "wait", bool, "true or false", True):
            async with self._residency.lease(entry.name):
                pass
        else:
            self._residency.preload(entry.name)
        return await self._card(entry.name)

    async def unload(self, body: dict[str, Any]) -> Any:
        """Unload a model once its requests have ended: ``{"model": name}``; with ``"force": true`` they are cancelled.
        One that isn't loaded stays so."""
        entry = self._residency.entry(needed(body, "model", str, "a model's name"))
        with contextlib.suppress(ModelNotLoadedError):
            await self._residency.unload(entry, force=take(body, "force", bool, "true or false", False))
        return await self._card(entry.name)

    async def pin(self, body: dict[str, Any]) -> Any:
        """Keep a model, once it is loaded: ``{"model": name}``."""
        return await self._pin(body, True)

    async def unpin(self, body: dict[str, Any]) -> Any:
        """Let a model be unloaded to make room again: ``{"model": name}``."""
        return await self._pin(body, False)

    async def schema(self, body: dict[str, Any]) -> Any:
        """The JSON schema of the load parameters of a model's backend: ``{"model": name}``."""
        entry = self._residency.entry(needed(body, "model", str, "a model's name"))
        name = (await asyncio.to_thread(self._cards.file, entry))["backend"]
        return await asyncio.to_thread(config_schema, [name] if name is not None else None)

    async def _pin(self, body: dict[str, Any], pinned: bool) -> Any:
        entry = self._residency.entry(needed(body, "model", str, "a model's name"))
        self._residency.pin(entry.name, pinned)
        return await self._card(entry.name)

    async def _card(self, name: str) -> Any:
        entry, loaded = self._residency.entry(name), self._cards.loaded().get(name)
        return await asyncio.to_thread(lambda: self._cards.card(entry, loaded, details=True))


def overview(service: Service, cards: Cards) -> dict[str, Any]:
    """All models, and the memory that they may take together."""
    data = cards.all(details=True)
    taken = sum(card["memory"]["total"] for card in data if card["memory"] is not None)
    return {"object": "list", "data": data, "memory": {"budget": service.forge.pool.memory_budget, "taken": taken}}


class _Gets:
    """Answers with what a function gives, which is called in a thread."""

    def __init__(self, give: Any) -> None:
        self._give = give

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await Exchange(scope, receive, send, 0).answer(sse.encode(await asyncio.to_thread(self._give)))


class _Events:
    """``GET /admin/events``: server-sent events named ``models`` with what ``/admin/models`` gives, at once and after
    every change: of states, of requests, of the progress of downloads."""

    def __init__(self, service: Service, cards: Cards) -> None:
        self._service = service
        self._cards = cards

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tell it until the client leaves, or the server ends."""
        exchange = Exchange(scope, receive, send, 0)
        headers: Mapping[str, str] = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        await exchange.start(200, sse.CONTENT_TYPE, headers)
        if scope["method"] == "HEAD":
            await exchange.end()
            return
        telling = asyncio.ensure_future(self._tell(exchange))
        leaving = asyncio.ensure_future(exchange.disconnected())
        ending = asyncio.ensure_future(self._service.ending.wait())
        try:
            await asyncio.wait({telling, leaving, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (telling, leaving, ending):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await task
        await exchange.end()

    async def _tell(self, exchange: Exchange) -> None:
        async def look() -> Any:
            return await asyncio.to_thread(overview, self._service, self._cards)

        async for now in self._service.watch.changes(look, _PING):
            await exchange.write(sse.PING if now is None else sse.named("models", now))
