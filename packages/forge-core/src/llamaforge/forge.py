"""The front door: named models, the backends that run them, and the calls for text."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .backends.base import BaseBackend
from .backends.calls import NamedModelCalls
from .backends.distributions import DISTRIBUTIONS
from .backends.named_embedding_calls import NamedModelEmbeddingCalls
from .backends.registry import check_generation, list_backends
from .backends.spec import Task
from .errors import (
    InvalidParameterError,
    LlamaForgeError,
    ModelExistsError,
    ModelNotLoadedError,
    UnknownBackendError,
    UnknownModelError,
)
from .forks import ForkSafeLock
from .formats.tasks import model_task
from .loaded_models import LoadedModel
from .models import BUILT_IN, DEFAULT_EMBEDDING_MODEL, DEFAULT_MODEL, ModelEntry, ModelFile, is_on_server
from .models.place import say_where
from .opening import open_entry
from .pool import ModelPool
from .sources import resolve
from .sources.kinds import (
    absolute_reference,
    check_reference,
    is_local,
    reads_as_reference,
)
from .sources.spec import Progress
from .validation import check_mapping, check_text, seconds_to_wait


class LlamaForge(NamedModelCalls, NamedModelEmbeddingCalls):
    """Named models, and the backends that run them.

    ::

        with LlamaForge() as forge:
            forge.add_model("llama", "models/llama.gguf", parameters={"n_ctx": 4096})
            forge.load_model("llama")
            print(forge.generate("Explain quantum computing in simple terms"))

    Models come from the user's model file and from :meth:`add_model`; two are built in and downloaded when
    they are first loaded: ``smollm2-135m-instruct`` for text, ``all-minilm-l6-v2`` for vectors. Any number may be
    loaded at once; the one loaded last is :attr:`current_model`. All methods are thread-safe.

    Args:
        config_path: the model file. Default: the environment variable ``LLAMAFORGE_CONFIG``, else ``models.toml`` in
            the platform's configuration folder. It need not exist.
        progress: called during downloads: ``progress(done_bytes, total_bytes_or_None, what)``.
        offline: download nothing; only files that are here already are used, by every backend. A backend that asks a
            server still asks it.
        memory_budget: bytes that all loaded models together may take. To make room for another one, models that nobody
            uses are unloaded, the least recently used first. None: no limit.

    Raises ModelFileError if *config_path* can't be a file: a folder, a device, a pipe.
    """

    def __init__(
        self,
        config_path: str | os.PathLike[str] | None = None,
        *,
        progress: Progress | None = None,
        offline: bool = False,
        memory_budget: int | None = None,
    ) -> None:
        self._file = ModelFile(config_path)
        self._file.check()
        if progress is not None and not callable(progress):
            raise InvalidParameterError("progress", progress, "a function: progress(done, total, what)")
        self._progress = progress
        self._offline = offline
        self._added: dict[str, ModelEntry] = {}
        self._pool = ModelPool(self._open, memory_budget=memory_budget, estimate=_file_size)
        self._current: str | None = None
        self._lock = ForkSafeLock()  # for the entries added and the model file; never held while a model loads

    # Named models.

    @property
    def config_path(self) -> Path:
        """The model file."""
        return self._file.path

    def add_model(
        self,
        name: str,
        path: str | os.PathLike[str],
        backend: str | None = None,
        parameters: Mapping[str, object] | None = None,
        *,
        generation: Mapping[str, object] | None = None,
        sha256: str | None = None,
        save: bool = False,
        replace: bool = False,
    ) -> ModelEntry:
        """Add a model with a specific backend.

        Args:
            name: its name.
            path: a path, a hub id, or another reference (see :mod:`llamaforge.sources`); for a server (``openai``, or
                any with ``api_base`` or ``endpoint``), the model's name there. A relative path is made absolute now, so
                it means the current folder.
            backend: the backend's name. None: it is chosen by the reference when the model is loaded.
            parameters: load parameters of that backend.
            generation: default generation parameters for requests.
            sha256: the expected SHA-256 of the file, in hexadecimal.
            save: write it to the model file, for later programs and the command line.
            replace: replace a different model of that name.

        Adding the same model again changes nothing.

        Raises ModelExistsError, UnknownBackendError, InvalidReferenceError, InvalidParameterError for an argument of
        the wrong type, and the errors of :meth:`BaseBackend.set_defaults` for *generation* (a basic backend gets it as
        it is).
        """
        check_text(name, "name")
        reference = os.fspath(path) if isinstance(path, str | os.PathLike) else None
        if not isinstance(reference, str):
            raise InvalidParameterError("path", path, "a path or another model reference", show_value=False)
        check_text(backend, "backend", optional=True)
        check_mapping(parameters)
        check_mapping(generation, "generation")
        if backend is None:
            check_reference(reference)
        if backend is not None:
            known = {*list_backends(), *DISTRIBUTIONS, "echo"}
            if backend not in known:
                raise UnknownBackendError(backend, known)
        if generation:
            check_generation(backend, generation)
        entry = ModelEntry(
            name=name,
            path=reference if backend and is_on_server(parameters or {}) else absolute_reference(reference, backend),
            backend=backend,
            parameters=dict(parameters or {}),
            generation=dict(generation or {}),
            sha256=sha256,
            origin="file" if save else "memory",
        )
        with self._lock:
            present = self._entries().get(name)
            if present is not None and not replace and not present.same_as(entry):
                raise ModelExistsError(name)
            if save:
                self._file.add(entry, replace=replace)
                self._added.pop(name, None)
            elif present is None or replace:
                self._added[name] = entry
            return entry

    def remove_model(self, name: str) -> None:
        """Remove a model from this program and from the model file, and unload it. Its files stay.

        Raises UnknownModelError.
        """
        with self._lock:
            entry = self.get_model(name)
            if entry.origin == "built-in":
                message = f"{name!r} is built in, so it can't be removed."
                raise InvalidParameterError("name", name, "a model that you added", message=message)
            self._added.pop(name, None)
            if name in self._file.load():
                self._file.remove(name)
        if self._pool.get(name) is not None:
            self.unload_model(name)

    def list_models(self) -> list[str]:
        """The names of all models: from the model file, added, and built in. Raises ModelFileError."""
        return list(self._entries())

    def get_model(self, name: str) -> ModelEntry:
        """A named model. Raises UnknownModelError with the closest names, or ModelFileError."""
        check_text(name, "name")
        entries = self._entries()
        if name not in entries:
            raise UnknownModelError(name, entries)
        return entries[name]

    @property
    def default_model(self) -> str:
        """The model that ``load_model()`` loads: the model file's ``default`` or, without one, the built-in model."""
        return self._file.default or DEFAULT_MODEL.name

    def default_model_for(self, task: Task) -> str | None:
        """The model for *task* where none is named: the default model, if it is for that, else a built-in one.

        None: there is none, as for ``rerank``. Raises ModelFileError.
        """
        if task == "generate":
            return self.default_model
        entry = self._entries().get(self._file.default or "")
        if entry is not None and _task_of(entry) == task:
            return entry.name
        return DEFAULT_EMBEDDING_MODEL.name if task == "embed" else None

    # Loaded models.

    def load_model(self, name: str | None = None, parameters: Mapping[str, object] | None = None) -> BaseBackend:
        """Load a model on its backend, download it first if necessary, and make it the current model.

        Args:
            name: a model's name, or a reference such as a path. None: the default model.
            parameters: load parameters; they take precedence over the model's own.

        A model that is already loaded with the same parameters is not loaded again. Callers that request it while it
        loads wait for that load. Other models keep answering meanwhile. Returns its backend.

        Raises UnknownModelError, a BackendError, a SourceError, a ModelError, or UnknownParameterError and
        InvalidParameterError for load parameters. What was loaded before stays loaded.
        """
        entry, merged = self._wanted(name, parameters)
        backend = self._pool.load(entry, merged)
        self._current = entry.name
        return backend

    async def aload_model(self, name: str | None = None, parameters: Mapping[str, object] | None = None) -> BaseBackend:
        """Asynchronous :meth:`load_model`; it never blocks the event loop.

        If it is cancelled, the model is unloaded again once it is loaded, unless other callers wait for it.
        """
        entry, merged = self._wanted(name, parameters)
        cancelled = threading.Event()
        loaded: Future[BaseBackend] = Future()

        def load() -> None:
            try:
                loaded.set_result(self._pool.load(entry, merged, abandoned=cancelled.is_set))
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits
                loaded.set_exception(error)

        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(load,), name="llamaforge-load", daemon=True).start()
        try:
            backend = await asyncio.shield(asyncio.wrap_future(loaded))
        except asyncio.CancelledError:
            cancelled.set()
            raise
        self._current = entry.name
        return backend

    def unload_model(self, name: str | None = None, *, wait: bool | float = False) -> None:
        """Unload a model and free its memory. None: the current one. Raises ModelNotLoadedError.

        *wait*: whether to wait for running requests; see :meth:`BaseBackend.unload_model`.
        """
        seconds_to_wait(wait)  # a wrong value is refused before anything is given up
        wanted = self._named_or_current(name)
        if wanted is None or not self._pool.has(wanted):
            raise self._not_loaded(name)
        if self._current == wanted:
            self._current = None
        self._pool.unload(wanted, wait=wait)

    def is_model_loaded(self, name: str | None = None) -> bool:
        """Whether that model is loaded; None: whether there is a current one."""
        wanted = self._named_or_current(name)
        backend = self._pool.get(wanted) if wanted is not None else None
        return backend is not None and backend.is_model_loaded()

    def loaded_models(self) -> list[LoadedModel]:
        """The loaded models, with their backend, state, memory and running requests.

        Models that are being loaded or unloaded are included; see ``state``.
        """
        return self._pool.loaded()

    @property
    def progress(self) -> Progress | None:
        """What is called during downloads; it may be replaced at any time, for the downloads that begin afterwards."""
        return self._progress

    @progress.setter
    def progress(self, progress: Progress | None) -> None:
        self._progress = progress

    @property
    def pool(self) -> ModelPool:
        """The loaded models, for callers that need leases, pins or idle times, such as a server."""
        return self._pool

    @property
    def current_model(self) -> str | None:
        """The model that calls use if none is named: the one loaded last. None if there is none."""
        return self._current

    def backend(self, name: str | None = None) -> BaseBackend:
        """The backend that runs a loaded model; None: the current one. Raises ModelNotLoadedError."""
        wanted = self._named_or_current(name)
        found = self._pool.get(wanted) if wanted is not None else None
        if found is None:
            raise self._not_loaded(name)
        return found

    def close(self) -> None:
        """Unload all models. The forge can be used again afterwards. Tries all before it raises the first error."""
        self._current = None
        self._pool.unload_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        names = [model.name for model in self._pool.loaded() if model.state == "loaded"]
        return f"<LlamaForge {', '.join(names) or 'without a loaded model'}>"

    def _entries(self) -> dict[str, ModelEntry]:
        with self._lock:
            return BUILT_IN | self._file.load() | self._added

    def _entry_or_reference(self, name: str) -> ModelEntry:
        entries = self._entries()
        if name in entries:
            return entries[name]
        if reads_as_reference(name):
            return ModelEntry(name=name, path=name, origin="memory")
        raise UnknownModelError(name, entries)

    def _wanted(self, name: str | None, parameters: Mapping[str, object] | None) -> tuple[ModelEntry, dict[str, Any]]:
        check_text(name, "name", optional=True)
        check_mapping(parameters)
        if name is not None:
            entry = self._entry_or_reference(name)
        else:
            try:
                entry = self._entry_or_reference(self.default_model)
            except UnknownModelError as error:
                error.add_place(f"The default model, set in {self.config_path}")
                raise
        return entry, {**entry.parameters, **(parameters or {})}

    def _named_or_current(self, name: str | None) -> str | None:
        if name is None:
            return self._current
        check_text(name, "model")
        return name

    def _not_loaded(self, name: str | None) -> ModelNotLoadedError | UnknownModelError:
        if name is None:
            return ModelNotLoadedError()
        entries = self._entries()
        if name not in entries and not self._pool.has(name):
            return UnknownModelError(name, entries)
        return ModelNotLoadedError(f"The model {name!r} is not loaded: call load_model({name!r}) first.", name)

    def _open(self, entry: ModelEntry, parameters: dict[str, Any]) -> BaseBackend:
        try:
            return open_entry(entry, parameters, file=self.config_path, progress=self._progress, offline=self._offline)
        except LlamaForgeError as error:
            named = entry.origin != "memory" or entry.name in self._added
            say_where(error, entry, parameters, self.config_path, named=named)
            raise


def _task_of(entry: ModelEntry) -> object:
    """What a model is for: as its load parameters say, or its files where they are here; None where neither does."""
    said = entry.parameters.get("task")
    here = not entry.is_on_server and is_local(entry.path)
    return said if said is not None or not here else model_task(entry.path)


def _file_size(entry: ModelEntry) -> int | None:
    """Bytes of a local model's files, about what it takes once it is loaded; None for models from elsewhere."""
    if entry.is_on_server or not is_local(entry.path):
        return None
    try:
        path = Path(resolve(entry.path, offline=True).location)
        files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        return sum(each.stat().st_size for each in files) or None
    except (LlamaForgeError, OSError):
        return None
