"""What clients are told of a model."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from llamaforge import BaseBackend
from llamaforge.backends.registry import get_spec, match_backend
from llamaforge.backends.spec import TASKS, Capabilities
from llamaforge.errors import LlamaForgeError
from llamaforge.formats.gguf import Array, DamagedFileError, read_header
from llamaforge.formats.local import is_gguf
from llamaforge.formats.tasks import model_task
from llamaforge.loaded_models import LoadedModel
from llamaforge.models import ModelEntry
from llamaforge.parameters import DEFAULTS, Parameters
from llamaforge.sources import resolve
from llamaforge.sources.kinds import is_fetched, is_local, offered_location

from .residency import Residency

_LENGTHS: Final = ("n_ctx", "max_length", "max_model_len")
"""Load parameters that set the context length."""

_FRESH: Final = 5.0
"""Seconds for which what a file says is taken as it was."""


class Cards:
    """Describes models.

    Args:
        residency: the models.
    """

    def __init__(self, residency: Residency) -> None:
        self._residency = residency
        self._since = int(dt.datetime.now(dt.UTC).timestamp())
        self._files: dict[tuple[str, str | None], tuple[float, object, dict[str, Any] | None]] = {}

    @property
    def since(self) -> int:
        """When the server began, in seconds of Unix time."""
        return self._since

    def all(self, *, details: bool = False) -> list[dict[str, Any]]:
        """Every model that is served, by name."""
        loaded = self.loaded()
        entries = self._residency.entries()
        return [self.card(entry, loaded.get(name), details=details) for name, entry in entries.items()]

    def loaded(self) -> dict[str, LoadedModel]:
        """The models in memory, by name."""
        return {model.name: model for model in self._residency.forge.loaded_models()}

    def card(self, entry: ModelEntry, loaded: LoadedModel | None, *, details: bool = False) -> dict[str, Any]:
        """A model as OpenAI's clients know it, with more fields; with *details* as administrators see it."""
        backend = self._residency.forge.pool.get(entry.name)
        file = self.file(entry)
        name = loaded.backend if loaded is not None and loaded.backend is not None else file["backend"]
        told: dict[str, Any] = {
            "id": entry.name,
            "object": "model",
            "created": self._since,
            "owned_by": "llamaforge",
            "backend": name,
            "state": loaded.state if loaded is not None else "unloaded",
            "capabilities": _capabilities(backend, name, file["task"]),
            "memory": _memory(loaded),
        }
        length = (backend.context_length if backend is not None else None) or _length(entry, file)
        told |= {"context_length": length, "max_model_len": length}
        if details:
            told |= {
                "size": file["size"],
                "reference": entry.describe()["path"],
                "parameters": entry.describe()["parameters"],
                "pinned": self._residency.is_pinned(entry.name),
                "since": loaded.since.isoformat() if loaded is not None else None,
                "running": loaded.requests if loaded is not None else 0,
                "requests": self._residency.requests(entry.name),
                "held_up": self._residency.held_up(entry.name),
                "progress": self._residency.watch.progress(entry.name),
                "error": self._residency.failure(entry.name),
            }
        return told

    def parameters(self, entry: ModelEntry) -> dict[str, Any]:
        """The generation parameters that a model honours: a JSON schema, and the values without a request's."""
        backend = self._residency.forge.pool.get(entry.name)
        name = backend.name if backend is not None else self.file(entry)["backend"]
        able = backend.capabilities if backend is not None else get_spec(name).capabilities if name else Capabilities()
        schema = msgspec.json.schema(Parameters, ref_template="#/$defs/{name}")
        described = schema["$defs"]["Parameters"]
        described["properties"] = {
            key: value for key, value in described["properties"].items() if key in able.parameters
        }
        values: dict[str, Any] = (
            {} if able.server_defaults else {k: v for k, v in DEFAULTS.items() if k in able.parameters}
        )
        if backend is not None:
            values |= backend.default_parameters()
        return {
            "object": "parameters",
            "model": entry.name,
            "schema": schema,
            "values": values | entry.generation,
            "complete": backend is not None,
        }

    def file(self, entry: ModelEntry) -> dict[str, Any]:
        """What a model's file says of it, read once: ``backend``, ``task``, ``size`` and ``context`` (None where
        unknown), and GGUF's ``metadata``."""
        key = (entry.path, entry.backend)
        looked, stamp, known = self._files.get(key, (float("-inf"), None, None))
        now = time.monotonic()
        if known is not None and now - looked < _FRESH:
            return known
        place, found = _place(entry)
        if known is None or found != stamp:
            known = _read(entry, place)
        self._files[key] = (now, found, known)
        return known


def _place(entry: ModelEntry) -> tuple[Path | None, object]:
    """Where the model's file lies, if it is on this machine, and what changes with it."""
    if entry.is_on_server or not (is_local(entry.path) or is_fetched(entry.path)):
        return None, None
    try:
        path = Path(resolve(entry.path, offline=True).location)
        stat = path.stat()
    except (LlamaForgeError, OSError, ValueError):
        return None, None
    return path, (stat.st_mtime_ns, stat.st_size)


def _read(entry: ModelEntry, place: Path | None) -> dict[str, Any]:
    told: dict[str, Any] = {"backend": entry.backend, "task": None, "size": None, "context": None, "metadata": {}}
    task = entry.parameters.get("task")
    told["task"] = task if task in TASKS else None
    try:
        if place is not None:
            told["task"] = told["task"] or model_task(place)
            files = [place] if place.is_file() else [each for each in place.rglob("*") if each.is_file()]
            told["size"] = sum(each.stat().st_size for each in files)
            if is_gguf(place):
                metadata = read_header(place).metadata  # with the whole vocabulary, which nobody needs here
                told["metadata"] = {name: each for name, each in metadata.items() if not isinstance(each, Array)}
                architecture = told["metadata"].get("general.architecture")
                told["context"] = told["metadata"].get(f"{architecture}.context_length")
        if entry.backend is None:
            offered = str(place) if place is not None else offered_location(entry.path)
            told["backend"] = match_backend(offered, told["task"])
    except (LlamaForgeError, DamagedFileError, OSError, ValueError):
        pass  # it will be said when the model is loaded
    return told


def _length(entry: ModelEntry, file: dict[str, Any]) -> int | None:
    for name in _LENGTHS:
        value = entry.parameters.get(name)
        if isinstance(value, int) and value > 0:
            return value
    context = file["context"]
    return context if isinstance(context, int) else None


def _capabilities(backend: BaseBackend | None, name: str | None, task: str | None) -> dict[str, Any]:
    able: Capabilities | None = None
    try:
        if backend is not None:
            able = backend.capabilities
        elif name is not None:
            able = get_spec(name).capabilities
    except LlamaForgeError:
        pass
    if able is None:
        return {"tasks": [task] if task else []}
    tasks = sorted(able.tasks)
    if task in able.tasks and backend is None:
        tasks = [task]
    return {
        "tasks": tasks,
        "parameters": sorted(able.parameters) if "generate" in tasks else [],
        "images": able.images,
        "tools": "tools" in able.parameters and "generate" in tasks,
        "structured_outputs": "response_format" in able.parameters and "generate" in tasks,
    }


def _memory(loaded: LoadedModel | None) -> dict[str, Any] | None:
    if loaded is None or loaded.memory is None:
        return None
    used = loaded.memory
    return {"total": used.total, "host": used.host, "devices": dict(used.devices), "measured": used.measured}
