"""From a model's entry to a loaded backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .backends.base import BaseBackend
from .backends.basic import BasicBackendAdapter
from .backends.loading import loading
from .backends.registry import declares_parameters, get_backend, match_backend
from .backends.spec import TASKS
from .errors import ConflictingParametersError, LlamaForgeError
from .models import ModelEntry, is_on_server
from .models.place import place_of
from .requests import Defaults
from .sources import resolve
from .sources.kinds import check_reference, is_fetched, is_local, offered_location
from .sources.redact import redact
from .sources.spec import Progress


def open_entry(
    entry: ModelEntry, parameters: dict[str, Any], *, file: Path, progress: Progress | None, offline: bool
) -> BaseBackend:
    """Load the model *entry* with *parameters* on its backend.

    All that can be checked is checked before anything is fetched, and what is loaded is unloaded again if it fails.
    *file* is the model file, for errors.
    """
    name = entry.backend
    there = name is not None and is_on_server(parameters)
    fetched = not there and is_fetched(entry.path)
    if fetched:
        check_reference(entry.path)
    if name is None:
        if not fetched:
            location = resolve(entry.path, sha256=entry.sha256).location
        task = parameters.get("task")
        task = task if task in TASKS else None  # the backend refuses another value
        name = match_backend(offered_location(entry.path) if fetched else location, task, redact(entry.path))
    backend = get_backend(name)()
    backend.offline = offline
    if backend.is_basic:
        backend = BasicBackendAdapter(backend)
    else:
        backend.config_class.read(parameters)
    backend.model_name = redact(entry.name)
    place = place_of(entry, file, "generation")
    early = declares_parameters(type(backend))
    if early:
        backend.set_defaults(entry.generation, place=place)
    else:
        Defaults.read(entry.generation, place)
    if fetched or (not there and is_local(entry.path)):
        model = resolve(entry.path, sha256=entry.sha256, progress=progress, offline=offline)
        location = model.location
        if model.revision is not None:
            parameters = _with_revision(parameters, model.revision)
    else:
        location = entry.path  # the backend's own name for a model
    with loading(location):
        backend.load_model(location, parameters)
    if not early:
        try:
            backend.set_defaults(entry.generation, place=place)
        except LlamaForgeError:
            backend.close()
            raise
    return backend


def _with_revision(parameters: dict[str, Any], revision: str) -> dict[str, Any]:
    if parameters.get("revision", revision) != revision:
        raise ConflictingParametersError(
            ["revision", "the reference's @revision"],
            "revision differs from the reference's @revision. Pass one of them.",
        )
    return {**parameters, "revision": revision}
