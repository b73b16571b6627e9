"""Endpoints that tell of models and of the server, and those that load and unload."""

from __future__ import annotations

import datetime as dt
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llamaforge import __version__
from llamaforge.errors import LlamaForgeError
from llamaforge.loaded_models import LoadedModel
from llamaforge.models import ModelEntry

from . import sse
from .asked import Dialect
from .dialects.ollama import Chat
from .dialects.openai import ChatCompletions
from .errors import Problem, problem
from .metrics import Metrics
from .residency import Residency

_OPENAI, _OLLAMA = ChatCompletions(), Chat()
_OLLAMA_VERSION = "0.12.0"
"""The version of the interface that clients are told, since some refuse an older one."""


class Listings:
    """Lists of models, health, figures and administration."""

    def __init__(self, residency: Residency, metrics: Metrics) -> None:
        self._residency = residency
        self._metrics = metrics
        self._since = int(dt.datetime.now(dt.UTC).timestamp())

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/health", self.health),
            Route("/ready", self.health),
            Route("/metrics", self.figures),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route("/api/version", self.version),
            Route("/api/tags", self.tags),
            Route("/api/ps", self.running),
            Route("/api/show", self.show, methods=["POST"]),
            Route("/admin/load", self.load, methods=["POST"]),
            Route("/admin/unload", self.unload, methods=["POST"]),
        ]

    async def health(self, request: Request) -> Response:
        """Whether the server is there."""
        return _json({"status": "ok"})

    async def figures(self, request: Request) -> Response:
        """Prometheus' figures."""
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Response:
        """OpenAI's list of models."""
        loaded = self._loaded()
        entries = self._residency.entries().values()
        return _json({"object": "list", "data": [self._card(entry, loaded.get(entry.name)) for entry in entries]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        try:
            entry = self._residency.entry(request.path_params["name"])
        except LlamaForgeError as error:
            return _refused(_OPENAI, problem(error))
        return _json(self._card(entry, self._loaded().get(entry.name)))

    async def version(self, request: Request) -> Response:
        """Ollama's version."""
        return _json({"version": _OLLAMA_VERSION, "llamaforge": __version__})

    async def tags(self, request: Request) -> Response:
        """Ollama's list of models."""
        return _json({"models": [self._tag(entry) for entry in self._residency.entries().values()]})

    async def running(self, request: Request) -> Response:
        """Ollama's list of loaded models."""
        entries = self._residency.entries()
        found = []
        for name, model in self._loaded().items():
            if name in entries and model.state == "loaded":
                size = model.memory.total if model.memory is not None else 0
                found.append(self._tag(entries[name]) | {"size": size, "size_vram": 0, "expires_at": _never()})
        return _json({"models": found})

    async def show(self, request: Request) -> Response:
        """Ollama's description of a model."""
        try:
            body = await request.json()
            name = body.get("model") or body.get("name") if isinstance(body, dict) else None
            if not isinstance(name, str):
                return _refused(_OLLAMA, Problem(400, "invalid_request", "model must be a model's name.", "model"))
            entry = self._residency.entry(name)
        except ValueError:
            return _refused(_OLLAMA, Problem(400, "invalid_request", "The body is not JSON."))
        except LlamaForgeError as error:
            return _refused(_OLLAMA, problem(error))
        tag = self._tag(entry)
        told = {"details": tag["details"], "model_info": {}, "capabilities": ["completion"]}
        return _json({"modified_at": tag["modified_at"], "template": "", "parameters": "", **told})

    async def load(self, request: Request) -> Response:
        """Load a model: ``{"model": name}``."""
        return await self._administer(request, unload=False)

    async def unload(self, request: Request) -> Response:
        """Unload a model once its requests have ended: ``{"model": name}``."""
        return await self._administer(request, unload=True)

    async def _administer(self, request: Request, *, unload: bool) -> Response:
        try:
            body = await request.json()
            if not isinstance(body, dict) or not isinstance(body.get("model"), str):
                raise Problem(400, "invalid_request", "model must be a model's name.", "model")
            entry = self._residency.entry(body["model"])
            if unload:
                await self._residency.unload(entry)
            else:
                async with self._residency.lease(entry.name):
                    pass
        except ValueError:
            return _refused(_OPENAI, Problem(400, "invalid_request", "The body is not JSON."))
        except (LlamaForgeError, Problem) as error:
            return _refused(_OPENAI, problem(error))
        return _json(self._card(entry, self._loaded().get(entry.name)))

    def _loaded(self) -> dict[str, LoadedModel]:
        return {model.name: model for model in self._residency.forge.loaded_models()}

    def _card(self, entry: ModelEntry, loaded: LoadedModel | None) -> dict[str, Any]:
        told: dict[str, Any] = {
            "id": entry.name,
            "object": "model",
            "created": self._since,
            "owned_by": "llamaforge",
            "backend": loaded.backend if loaded is not None else entry.backend,
            "state": loaded.state if loaded is not None else "unloaded",
        }
        backend = self._residency.forge.pool.get(entry.name)
        length = getattr(backend, "context_size", None) if backend is not None else None
        length = length or entry.parameters.get("n_ctx") or entry.parameters.get("max_length")
        if isinstance(length, int):
            told |= {"context_length": length, "max_model_len": length}
        return told

    def _tag(self, entry: ModelEntry) -> dict[str, Any]:
        since = dt.datetime.fromtimestamp(self._since, dt.UTC).isoformat().replace("+00:00", "Z")
        details: dict[str, Any] = {
            "parent_model": "",
            "format": "gguf" if entry.path.endswith(".gguf") else "",
            "family": "",
            "families": [],
            "parameter_size": "",
            "quantization_level": "",
        }
        return {
            "name": entry.name,
            "model": entry.name,
            "modified_at": since,
            "size": 0,
            "digest": entry.sha256 or "",
            "details": details,
        }


def _json(value: Any, status: int = 200) -> Response:
    return Response(sse.encode(value), status, media_type="application/json")


def _refused(dialect: Dialect, found: Problem) -> Response:
    return Response(dialect.error(found), found.status, found.headers, media_type="application/json")


def _never() -> str:
    return "9999-12-31T23:59:59Z"
