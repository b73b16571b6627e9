"""The registry of backends: installed plugins, backends that the program registers, and the built-in one."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import (
    BackendError,
    BackendNotInstalledError,
    BrokenPluginError,
    ContractVersionError,
    InvalidParameterError,
    LlamaForgeError,
    NoBackendForModelError,
    UnknownBackendError,
)
from ..forks import ForkSafeLock
from ..formats.tasks import model_task
from ..plugins import BACKENDS, guarded, import_object
from .distributions import DISTRIBUTIONS, install_command
from .spec import API_VERSION, BackendSpec, Task

if TYPE_CHECKING:
    from .base import BaseBackend
    from .config import BackendConfig

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
"""The names that `llamaforge new-backend` gives entry points, too."""

_registered: dict[str, type[BaseBackend]] = {}
_lock = ForkSafeLock()


def list_backends() -> list[str]:
    """Names of the backends that are installed or registered. Imports none of them.

    The built-in ``echo`` backend is not an engine and is not listed.
    """
    installed = BACKENDS.names()
    usual = [name for name in DISTRIBUTIONS if name in installed]
    names = [*usual, *(name for name in installed if name not in usual)]
    with _lock:
        return names + [name for name in _registered if name not in names]


def get_backend(name: str) -> type[BaseBackend]:
    """The class of the backend *name*.

    Its plugin is imported now, its engine only when a model is loaded.

    Raises UnknownBackendError with the closest names, BackendNotInstalledError with the command that installs it, and
    BrokenPluginError, DuplicatePluginError or ContractVersionError if its plugin can't be used.
    """
    with _lock:
        if name in _registered:
            return _registered[name]
    spec = get_spec(name)
    owner = BACKENDS.owner(name)
    try:
        with guarded("backend", name, owner):
            found = import_object(spec.target)
            if not _is_backend(found):
                raise TypeError(f"{spec.target} is not a subclass of llamaforge.BaseBackend")
    except BrokenPluginError as failure:
        BACKENDS.failures[name] = failure
        raise
    backend: type[BaseBackend] = found
    return backend


def get_spec(name: str) -> BackendSpec:
    """The spec of the backend *name*; a registered class without one gets a plain spec.

    Raises the same errors as :func:`get_backend`, except for a broken class.
    """
    with _lock:
        registered = _registered.get(name)
    if registered is not None:
        if registered.spec is not None:
            return registered.spec
        where = f"{registered.__module__}:{registered.__qualname__}"
        summary = (registered.__doc__ or "").strip().partition("\n")[0]
        return BackendSpec(name=name, target=where, config="llamaforge:BackendConfig", summary=summary)
    if name == "echo":
        from .echo import SPEC

        return SPEC
    if not BACKENDS.contributions(name):
        if name in DISTRIBUTIONS:
            raise BackendNotInstalledError(name, DISTRIBUTIONS[name], install_command(name))
        raise UnknownBackendError(name, {*list_backends(), *DISTRIBUTIONS, "echo"})
    try:
        spec = BACKENDS.load(name)
        _check_spec(name, spec)
    except LlamaForgeError as failure:
        BACKENDS.failures[name] = failure
        raise
    checked: BackendSpec = spec
    return checked


def get_config(name: str) -> type[BackendConfig]:
    """The class of the load parameters of the backend *name*, without importing its engine."""
    with _lock:
        registered = _registered.get(name)
    if registered is not None:
        return registered.config_class
    spec = get_spec(name)
    with guarded("backend", name, BACKENDS.owner(name)):
        config: type[BackendConfig] = import_object(spec.config)
    return config


def declares_parameters(backend: type[BaseBackend]) -> bool:
    """Whether its spec alone says which generation parameters it supports.

    An author's own ``capabilities`` may depend on how a model is loaded; core's leave the parameters as declared.
    """
    found = backend.capabilities
    return isinstance(found, property) and getattr(found.fget, "__module__", "").startswith("llamaforge.")


def check_generation(name: str | None, generation: Mapping[str, object]) -> None:
    """Refuse default generation parameters for a model of the backend *name*, as far as they can be judged without it.

    A basic backend gets them as they are, so nothing is refused then. None: the backend isn't known yet.

    Raises UnknownParameterError, InvalidParameterError, ConflictingParametersError or UnsupportedError.
    """
    from ..parameters import read_parameters
    from .base import BaseBackend

    kind = BaseBackend
    if name is not None:
        with contextlib.suppress(BackendError):  # it is reported when the model is loaded
            kind = get_backend(name)
    if kind is not BaseBackend and kind.stream is BaseBackend.stream and kind.astream is BaseBackend.astream:
        return
    read_parameters(generation)
    if kind is not BaseBackend and declares_parameters(kind):
        kind().set_defaults(generation, place="generation")


def register_backend(name: str, backend: type[BaseBackend], *, replace: bool = False) -> None:
    """Register the class *backend* under *name* in this process.

    The same class may be registered again, even if a notebook has redefined it.

    Raises TypeError if *backend* is not a backend class, InvalidParameterError if the name is no entry point's name,
    and ValueError if it is taken, unless *replace* is true.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidParameterError(
            "name", name, "made of letters, digits, '.', '_' and '-', with a letter or a digit at both ends"
        )
    if not _is_backend(backend):
        raise TypeError(f"{backend!r} is not a subclass of llamaforge.BaseBackend.")
    with _lock:
        present = _registered.get(name)
        redefined = present is not None and _identity(present) == _identity(backend)
        taken = present is not None or name == "echo" or bool(BACKENDS.contributions(name))
        if taken and not redefined and not replace:
            raise ValueError(f"The name {name!r} is taken by another backend. Choose another, or pass replace=True.")
        _registered[name] = backend


def is_registered(name: str | None) -> bool:
    """Whether the program itself registered *name*, with :func:`register_backend`."""
    with _lock:
        return name in _registered


def match_backend(location: str, task: Task | None = None, reference: str | None = None) -> str:
    """The backend that suits the model at *location* best, as rated by the plugins.

    Only backends that declare *task* count. None: the task that the model's files show, if they do. *reference* is what
    the user wrote, for the error; None: the location.

    A broken plugin is skipped, and named in the error if no other plugin matches.

    Raises NoBackendForModelError.
    """
    wanted = task if task is not None else model_task(location)
    best: tuple[int, str] = (0, "")
    broken = []
    for name in list_backends():
        try:
            spec = get_spec(name)
            with guarded("backend", name, BACKENDS.owner(name)):
                able = wanted is None or wanted in spec.capabilities.tasks
                score = int(spec.match(location) or 0) if able else 0
        except LlamaForgeError as failure:
            BACKENDS.failures[name] = failure
            broken.append(f"{failure}")
            continue
        if score > best[0]:
            best = (score, name)
    if best[1]:
        return best[1]
    absent = [name for name in DISTRIBUTIONS if name not in list_backends()]
    if location.startswith("./") and location.endswith("/"):  # a folder that is yet to be fetched: transformers' format
        absent = [name for name in absent if name == "huggingface"]
    extra = "embeddings" if task == "embed" else None
    offers = [f"For {name}: {install_command(name, extra if name == 'huggingface' else None)}." for name in absent]
    raise NoBackendForModelError(reference if reference is not None else location, [*broken, *offers])


def _check_spec(name: str, spec: Any) -> None:
    owner = BACKENDS.owner(name)
    if not isinstance(spec, BackendSpec):
        found = f"its hook returned {type(spec).__name__}, not a BackendSpec"
        raise BrokenPluginError("backend", name, owner, found, found)
    if spec.api_version != API_VERSION:
        raise ContractVersionError(name, owner, spec.api_version, API_VERSION)
    if spec.name != name:
        found = f"its entry point is named {name!r}, but its spec {spec.name!r}"
        raise BrokenPluginError("backend", name, owner, found, found)


def _is_backend(candidate: object) -> bool:
    from .base import BaseBackend

    return isinstance(candidate, type) and issubclass(candidate, BaseBackend)


def _identity(backend: type[BaseBackend]) -> tuple[str, str]:
    return backend.__module__, backend.__qualname__
