"""Loads the model that a command's options choose."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import click

from ..backends.base import BaseBackend
from ..backends.registry import get_spec
from ..backends.spec import Task
from ..forge import LlamaForge
from ..plugins import BACKENDS, guarded
from ..sources.kinds import offered_location
from .failures import say
from .progress import FetchDisplay


@dataclass(frozen=True)
class ModelChoice:
    """The values of the options of :func:`~llamaforge.cli.options.model_options`."""

    model: str | None
    backend: str | None
    load: Mapping[str, Any]
    offline: bool
    task: Task = "generate"
    server: str | None = None

    @classmethod
    def take(cls, options: dict[str, Any]) -> Self:
        """Take them out of a command's *options*."""
        return cls(**{name: options.pop(name) for name in ("model", "backend", "load", "offline", "server")})


@dataclass(frozen=True)
class Session:
    """A loaded model."""

    forge: LlamaForge
    model: str
    backend: BaseBackend
    _display: FetchDisplay
    is_remote: bool = False
    """Whether the models are those of a server."""

    @property
    def models(self) -> list[str]:
        """The names of the models that this one can be replaced with."""
        names = self.forge.list_models()
        if not self.is_remote:
            return names
        own = self.forge.get_model(self.model)
        others = {name: self.forge.get_model(name) for name in names}
        return [
            name
            for name, entry in others.items()
            if entry.backend == own.backend and entry.parameters == own.parameters
        ]

    def switch(self, model: str, check: Callable[[Session], None]) -> Session:
        """Load another model, then unload this one. Raises what ``LlamaForge.load_model`` or *check* raises.

        If anything fails, this one stays loaded.
        """
        if model == self.model:
            return self
        if self.is_remote and model not in self.models:  # a name that the server alone knows, or nobody
            own = self.forge.get_model(self.model)
            self.forge.add_model(model, model, own.backend, own.parameters, replace=True)
        with self._display:
            backend = self.forge.load_model(model)
        other = replace(self, model=model, backend=backend)
        try:
            check(other)
        except BaseException:
            self.forge.unload_model(model)
            raise
        self.forge.unload_model(self.model)
        return other


@contextlib.contextmanager
def loaded_model(choice: ModelChoice) -> Iterator[Session]:
    """Fetch and load the model, and unload it in the end. Raises what ``LlamaForge.load_model`` raises."""
    display = FetchDisplay()
    with LlamaForge(progress=display, offline=choice.offline) as forge:
        name = settle(forge, choice)
        with display:
            backend = forge.load_model(name, choice.load)
        yield Session(forge, name, backend, display, is_remote=choice.server is not None)


def settle(forge: LlamaForge, choice: ModelChoice) -> str:
    """The name of the model to load, after adding it to *forge* with the requested backend."""
    model, backend = choice.model, choice.backend
    if choice.server is not None:
        if backend is not None:
            raise click.UsageError("--server and --backend can't be used together: the server has chosen its backends.")
        from .remote import add_models_of

        return add_models_of(forge, choice.server, model, choice.task)
    if backend is None:
        return model if model is not None else _default(forge, choice.task)
    if model is None:
        model = _default_of(forge, backend, choice.task)
    if model not in forge.list_models():
        forge.add_model(model, model, backend)
        return model
    entry = forge.get_model(model)
    if entry.backend != backend:
        parameters = entry.parameters
        if entry.backend is not None and parameters:
            say(f"Note: the load parameters saved with {model} are for {entry.backend} and are not used.")
            parameters = {}
        forge.add_model(
            model, entry.path, backend, parameters, generation=entry.generation, sha256=entry.sha256, replace=True
        )
    return model


def _default(forge: LlamaForge, task: Task) -> str:
    model = forge.default_model_for(task)
    if model is None:
        raise click.UsageError(
            f"No model for the task {task} is built in, and the default model is not for it. Name one with -m MODEL."
        )
    return model


def _default_of(forge: LlamaForge, backend: str, task: Task) -> str:
    """The default model, if *backend* accepts it. echo accepts anything, so it gets a name that needs no download."""
    spec = get_spec(backend)
    if backend == "echo":
        return "echo"
    entry = forge.get_model(_default(forge, task))
    if entry.backend not in (None, backend):
        takes = False
    else:
        with guarded("backend", backend, BACKENDS.owner(backend)):
            takes = entry.backend == backend or bool(spec.match(offered_location(entry.path)))
    if not takes:
        raise click.UsageError(
            f"The default model {entry.name} doesn't run on {backend}. Choose another one with -m MODEL."
        )
    return entry.name
