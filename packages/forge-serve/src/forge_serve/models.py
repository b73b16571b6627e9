"""Endpoints that tell of models and of the server."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llamaforge.errors import LlamaForgeError

from . import sse
from .asked import Voice
from .cards import Cards
from .dialects.openai import OpenAIVoice
from .errors import Problem, problem
from .service import Service

_OPENAI = OpenAIVoice()


class Listings:
    """Lists of models, health and figures."""

    def __init__(self, service: Service, cards: Cards) -> None:
        self._residency = service.residency
        self._metrics = service.metrics
        self._cards = cards

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/health", self.health),
            Route("/ready", self.health),
            Route("/metrics", self.figures),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route("/v1/parameters/{name:path}", self.parameters),
        ]

    async def health(self, request: Request) -> Response:
        """Whether the server is there."""
        return json_answer({"status": "ok"})

    async def figures(self, request: Request) -> Response:
        """Prometheus' figures."""
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Response:
        """OpenAI's list of models."""
        return json_answer({"object": "list", "data": await asyncio.to_thread(self._cards.all)})

    async def model(self, request: Request) -> Response:
        """One of them."""
        try:
            entry = self._residency.entry(request.path_params["name"])
        except LlamaForgeError as error:
            return refused(_OPENAI, problem(error))
        loaded = self._cards.loaded().get(entry.name)
        return json_answer(await asyncio.to_thread(self._cards.card, entry, loaded))

    async def parameters(self, request: Request) -> Response:
        """The generation parameters that a model honours: a JSON schema, and the values that apply where a request
        sets none."""
        try:
            entry = self._residency.entry(request.path_params["name"])
        except LlamaForgeError as error:
            return refused(_OPENAI, problem(error))
        return json_answer(await asyncio.to_thread(self._cards.parameters, entry))


def json_answer(value: Any, status: int = 200) -> Response:
    """*value* as JSON."""
    return Response(sse.encode(value), status, media_type="application/json")


def refused(voice: Voice, found: Problem) -> Response:
    """An error, in a dialect."""
    return Response(voice.error(found), found.status, found.headers, media_type="application/json")
