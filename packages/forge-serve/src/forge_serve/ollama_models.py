"""Ollama's endpoints that tell of models (https://github.com/ollama/ollama/blob/main/docs/api.md)."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from llamaforge import __version__
from llamaforge.models import ModelEntry

from .asked import needed
from .cards import Cards
from .dialects.ollama import OllamaVoice
from .models import json_answer
from .service import Service
from .work import Answering

VERSION: Final = "0.12.0"
"""The version of the interface that clients are told, since some refuse an older one."""
_FILE_TYPES: Final = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K"} | {
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K"
} | {32: "BF16"}  # fmt: skip
"""llama.cpp's ``general.file_type``."""
_LAST: Final = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC).timestamp()


class OllamaListings:
    """Ollama's lists and descriptions of models."""

    def __init__(self, service: Service, cards: Cards) -> None:
        self._service = service
        self._residency = service.residency
        self._cards = cards

    def routes(self) -> list[Route]:
        """All of them."""
        voice = OllamaVoice()
        return [
            Route("/api/version", self.version),
            Route("/api/tags", self.tags),
            Route("/api/ps", self.running),
            Route("/api/show", Answering(voice, self._service, self.show), methods=["POST"]),
            Route("/api/pull", Answering(voice, self._service, self.pull), methods=["POST"]),
        ]

    async def version(self, request: Request) -> Response:
        """The interface's version."""
        return json_answer({"version": VERSION, "llamaforge": __version__})

    async def tags(self, request: Request) -> Response:
        """The list of models."""
        entries = list(self._residency.entries().values())
        return json_answer({"models": await asyncio.to_thread(lambda: [self._tag(entry) for entry in entries])})

    async def running(self, request: Request) -> Response:
        """The list of loaded models."""
        return json_answer({"models": await asyncio.to_thread(self._running)})

    async def show(self, body: dict[str, Any]) -> Any:
        """A model's description."""
        name = "name" if body.get("model") is None and body.get("name") is not None else "model"
        entry = self._residency.entry(needed(body, name, str, "a model's name"))
        return await asyncio.to_thread(self._described, entry)

    async def pull(self, body: dict[str, Any]) -> Any:
        """Have a model downloaded and ready: it is loaded. Only names are known, as everywhere."""
        name = "name" if body.get("model") is None and body.get("name") is not None else "model"
        entry = self._residency.entry(needed(body, name, str, "a model's name"))
        async with self._residency.lease(entry.name):
            return {"status": "success"}

    def _running(self) -> list[dict[str, Any]]:
        entries = self._residency.entries()
        found = []
        for name, model in self._cards.loaded().items():
            if name in entries and model.state == "loaded":
                size = model.memory.total if model.memory is not None else 0
                on_devices = sum(model.memory.devices.values()) if model.memory is not None else 0
                length = self._cards.card(entries[name], model)["context_length"]
                found.append(
                    self._tag(entries[name])
                    | {
                        "size": size,
                        "size_vram": on_devices,
                        "context_length": length or 0,
                        "expires_at": _time(self._residency.expires(name)),
                    }
                )
        return found

    def _described(self, entry: ModelEntry) -> dict[str, Any]:
        file = self._cards.file(entry)
        metadata = file["metadata"]
        plain = {name: value for name, value in metadata.items() if not name.startswith("tokenizer.chat_template")}
        card = self._cards.card(entry, self._cards.loaded().get(entry.name))
        able = card["capabilities"]
        kinds = {"generate": "completion", "embed": "embedding", "rerank": "rerank"}
        capabilities = [kinds[task] for task in able["tasks"]]
        if able.get("tools"):
            capabilities.append("tools")
        if able.get("images"):
            capabilities.append("vision")
        tag = self._tag(entry)
        return {
            "modified_at": tag["modified_at"],
            "template": str(metadata.get("tokenizer.chat_template", "")),
            "parameters": "\n".join(f"{name} {value}" for name, value in entry.generation.items()),
            "details": tag["details"],
            "model_info": plain | {"general.context_length": card["context_length"]},
            "capabilities": capabilities,
        }

    def _tag(self, entry: ModelEntry) -> dict[str, Any]:
        file = self._cards.file(entry)
        metadata = file["metadata"]
        family = str(metadata.get("general.architecture", ""))
        return {
            "name": entry.name,
            "model": entry.name,
            "modified_at": _time(self._cards.since),
            "size": file["size"] or 0,
            "digest": entry.sha256 or "",
            "details": {
                "parent_model": "",
                "format": "gguf" if metadata else "",
                "family": family,
                "families": [family] if family else [],
                "parameter_size": str(metadata.get("general.size_label", "")),
                "quantization_level": _FILE_TYPES.get(metadata.get("general.file_type", -1), ""),
            },
        }


def _time(seconds: float) -> str:
    """Unix time as Ollama writes it; what is later than any date, such as infinity, is the last one."""
    if seconds >= _LAST:
        return "9999-12-31T23:59:59Z"
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")
