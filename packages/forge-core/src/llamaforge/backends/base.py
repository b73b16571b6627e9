"""The contract between LlamaForge and a backend."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final

from .. import forks, observing
from ..awaitables import AwaitableResult
from ..bridges import in_loop, in_thread
from ..cancellation import CancellationToken
from ..errors import ContractError, ModelNotLoadedError, RequestError, UnknownParameterError, UnsupportedError
from ..event_validation import EventValidator, avalidated, engine_call, validated
from ..messages import Message
from ..parameters import UNIVERSAL, read_parameters
from ..requests import Defaults, GenerationRequest, ResolvedRequest, resolve_request, unsupported_parameters
from ..results import Event
from ..signatures import overridable
from ..streams import AsyncTextStream, TextStream
from ..validation import seconds_to_wait
from .calls import GenerationCalls
from .closing import ClosedByContext
from .config import BackendConfig
from .embedding_calls import EmbeddingCalls
from .embedding_run import task_error
from .formats import answer_reader, take_type
from .inflight import InFlight
from .loading import checked_path, import_engine, loading
from .memory import MemoryUsage
from .spec import BackendSpec, Capabilities, Task
from .tokenizer_calls import TokenizerCalls
from .tool_calls import Messages
from .watching import begin

__all__ = ["BaseBackend", "import_engine"]

_WRITTEN = "load stream astream compute_embeddings acompute_embeddings compute_scores acompute_scores"
_FULL: Final = tuple(_WRITTEN.split())
"""What a full backend writes, at least one of them."""


class BaseBackend(GenerationCalls, EmbeddingCalls, TokenizerCalls, ClosedByContext):
    """Base class of all backends.

    **To use one**, load a model and ask it::

        backend = get_backend("llama.cpp")()
        backend.load_model("model.gguf", {"n_ctx": 4096})
        answer = backend.generate("Why is the sky blue?", {"max_tokens": 100})

    **To write one**, there are two levels.

    *Basic*: override ``load_model``, ``generate``, ``generate_stream`` and ``is_model_loaded``, as in the reference.
    Parameters then arrive as the caller gave them, and you check them yourself. There is no chat.

    *Full*: set :attr:`spec` and :attr:`config_class`, and write three methods:

    * ``load(model_path, config)`` opens the model; the parameters have been checked already.
    * ``unload()`` frees its memory.
    * ``stream(request, cancellation)`` yields :class:`~llamaforge.results.TextDelta` events and then one
      :class:`~llamaforge.results.Finished`; ``astream(request, cancellation)`` does the same as an asynchronous
      generator: write one of the two. When the caller leaves, the generator is closed: stop the engine in ``finally``.
      If the engine computes for long between two events, it must check ``cancellation.stopped`` meanwhile. Several
      threads may call it at once.

    A backend for vectors or rankings declares the tasks ``embed`` or ``rerank``, and writes ``compute_embeddings`` or
    ``compute_scores`` instead of ``stream``, or beside it.

    The base class provides everything else: checked parameters, ``generate``, ``chat``, their streams and asynchronous
    versions, batches, timeouts, cancellation, timings.
    :class:`llamaforge.backends.echo.EchoBackend` is a small complete example.
    """

    spec: ClassVar[BackendSpec | None] = None
    """The plugin's declaration of this backend. None for a basic backend."""
    config_class: ClassVar[type[BackendConfig]] = BackendConfig
    """The class of its load parameters."""
    offline: bool = False
    """Whether ``load_model`` must download nothing and use only files that are on this machine.
    ``LlamaForge(offline=True)`` sets it."""
    enforces_formats: ClassVar[bool] = False
    """Whether whole answers always follow ``response_format``. Otherwise core checks JSON and choices."""

    def __init__(self) -> None:
        self._model_path: str | None = None
        self._config: BackendConfig | None = None
        self._named: Defaults | None = None
        self._loading = threading.RLock()
        self._in_flight = InFlight()
        self._lost: str | None = None  # why a model that was loaded isn't any more
        forks.watch(self)

    # What a full backend writes.

    def load(self, model_path: str, config: Any) -> None:
        """Open the model at *model_path* (a local path or the engine's own id) with checked parameters."""
        raise NotImplementedError(f"{type(self).__name__} must override load() or load_model().")

    def unload(self) -> None:
        """Free what ``load`` allocated."""

    def check_model(self, model_path: str, config: Any) -> None:
        """Refuse an obviously wrong model, cheaply, before the current model is unloaded."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Generate: text events, then exactly one ``Finished``.

        *request* has been checked: it uses only what :attr:`spec` declares. Core's defaults are filled in, unless a
        server chooses them.
        """
        raise NotImplementedError(f"{type(self).__name__} must override stream(), astream(), or the basic methods.")

    def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """The same as :meth:`stream`, for asynchronous engines: override one of the two."""
        raise NotImplementedError(f"{type(self).__name__} must override stream(), astream(), or the basic methods.")

    def render_request(self, request: GenerationRequest) -> str:
        """The exact text that the engine will see for *request*."""
        raise UnsupportedError("render", self.name)

    def default_parameters(self) -> Mapping[str, object]:
        """Generation parameters that the loaded model recommends, by canonical name.

        They apply if neither the request nor the named model sets the parameter, before core's defaults. The base
        class returns none.
        """
        return {}

    def memory(self) -> MemoryUsage | None:
        """The memory that the loaded model takes. None if unknown, or if no model is loaded."""
        return None

    def check_engine_options(self, options: Mapping[str, object]) -> None:
        """Check the engine-specific options of ``engine={...}``. The base class checks only names."""
        known = self.capabilities.engine_options
        for name in options:
            if name not in known:
                raise UnknownParameterError(name, known, where="engine option", owner=f"The backend {self.name}")

    def after_fork(self) -> None:
        """In the child of a fork, before anything else runs there: give up what only the parent can use.

        No other thread exists there. Override it to forget connections, say, and call ``super().after_fork()``.
        """
        self._loading = forks.renewed(self._loading, threading.RLock)

    # What every backend has.

    @property
    def name(self) -> str:
        """The backend's name; a class without a spec is named after itself."""
        return self.spec.name if self.spec is not None else type(self).__name__

    @property
    def capabilities(self) -> Capabilities:
        """What this backend supports. A loaded model may change what the spec declares."""
        return self.spec.capabilities if self.spec is not None else Capabilities()

    @property
    def is_basic(self) -> bool:
        """Whether the author wrote only the four basic methods: none of those that make a full backend."""
        return _is_basic(type(self))  # type: ignore[arg-type]  # mypy takes classes with __hash__ for unhashable

    @property
    def model_path(self) -> str | None:
        """The path or id of the loaded model, or None."""
        return self._model_path

    @property
    def requests_in_flight(self) -> int:
        """The number of running requests. A stream runs from the first event that is read until its end."""
        return self._in_flight.count

    @property
    def last_request_ended(self) -> float:
        """When the last request ended, by ``time.monotonic()``; 0 if there was none."""
        return self._in_flight.last_exit

    @overridable
    def load_model(self, model_path: str | os.PathLike[str], parameters: Mapping[str, object] | None = None) -> None:
        """Load a model from the given path with the given parameters.

        A model that is loaded already is unloaded first, but only after the parameters and the path have been checked.
        Raises UnknownParameterError or InvalidParameterError for *parameters*, a ModelError for the model, and
        EngineNotAvailableError if the engine's library is missing.
        """
        config = self.config_class.read(parameters)
        path = checked_path(model_path)
        with self._loading:
            with loading(path):
                self.check_model(path, config)
            if self._model_path is not None:
                self.unload_model()
            with loading(path):
                self.load(path, config)
            self._loaded_from(path, config)
            try:
                read_parameters(self.default_parameters())
            except RequestError as error:
                self.unload_model()
                raise ContractError(
                    self.name, f"it recommends generation parameters that don't exist: {error}"
                ) from error

    def unload_model(self, *, wait: bool | float = False) -> None:
        """Unload the model and free its memory. Without a model, do nothing.

        Args:
            wait: False cancels the running requests at once. True waits until they have ended and refuses new ones
                meanwhile; a number waits at most that many seconds and cancels the rest. A stream is running from the
                first piece that is read until it ends or is closed. If several threads unload, the shortest wait
                applies to all.
        """
        if self.is_basic:
            raise UnsupportedError("unload_model", self.name, "Drop the backend instead.")
        with self._unloading(wait) as loaded:
            if loaded:
                self.unload()

    @overridable
    def is_model_loaded(self) -> bool:
        """Check if a model is loaded."""
        return self._model_path is not None

    def set_defaults(self, parameters: Mapping[str, object], *, place: str = "The defaults (set_defaults)") -> None:
        """Set default generation parameters for requests. ``LlamaForge`` sets those of a named model here.

        They take precedence over the model's recommendations and core's defaults. Each call replaces the previous ones.
        A default that contradicts a request is left out of it. Errors about them begin with *place*.

        Raises UnknownParameterError, InvalidParameterError or ConflictingParametersError, and UnsupportedError for what
        this backend doesn't support, unless they hold ``on_unsupported="drop"``.
        """
        defaults = Defaults.read(parameters, place)
        supported = self.capabilities.parameters | UNIVERSAL
        if defaults.values.get("on_unsupported") != "drop" and not supported >= defaults.values.keys():
            unable = [name for name in defaults.values if name not in supported]
            raise unsupported_parameters(unable, self.name, "Leave it out.", place)
        self._named = defaults if defaults.values or defaults.samples else None

    def render(
        self,
        prompt: str | None = None,
        *,
        messages: Iterable[Message | Mapping[str, object]] | None = None,
        parameters: Mapping[str, object] | None = None,
    ) -> str:
        """The exact text that the engine will see, including special tokens.

        Raises the same errors as :meth:`generate`.
        """
        self._require_full("render")
        self._require_task("generate")
        resolved = self._resolve(prompt, messages, take_type(parameters)[0])
        return engine_call(self.name, self._say_where(resolved.own), self.render_request, resolved.request)

    def health(self) -> AwaitableResult[bool]:
        """Whether it can answer: a model is loaded and its server, if any, is healthy. May be awaited."""
        return AwaitableResult(self.is_model_loaded)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, '_model_path', None) or 'without a model'}>"

    def _loaded_from(self, path: str, config: BackendConfig | None = None) -> None:
        """A model is loaded now: let requests in."""
        self._model_path, self._config, self._lost = path, config, None
        self._in_flight.open()

    @contextlib.contextmanager
    def _unloading(self, wait: bool | float) -> Iterator[bool]:
        """Wait for the requests in flight as asked, and forget the model. Gives whether there was one."""
        limit = None if wait is True else seconds_to_wait(wait)
        with self._in_flight.drain_limit(limit), self._loading:
            loaded = self._model_path is not None
            if loaded:
                if limit != 0:
                    self._in_flight.drain(limit)
                self._model_path = self._config = None
            yield loaded

    def _start(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, object] | None, started: float
    ) -> TextStream:
        watch = begin(self, "chat" if prompt is None else "generate", parameters, started) if observing.wanted else None
        try:
            request, cancellation, validator = self._prepare(prompt, messages, parameters, started)
            if watch is not None:
                watch.start_generation(request, cancellation)
            if type(self).stream is not BaseBackend.stream:
                events = engine_call(self.name, validator.say_where, self.stream, request, cancellation)
            else:
                events = in_loop(lambda: self.astream(request, cancellation), cancellation)
        except BaseException as error:
            if watch is not None:
                watch.fail(error)
            raise
        events = validated(self._in_flight.through(events), validator)
        events = events if watch is None else watch.events(events, cancellation)
        return TextStream(events, cancellation, validator.cancelled, validator.reader)

    def _astart(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, object] | None, started: float
    ) -> AsyncTextStream:
        watch = begin(self, "chat" if prompt is None else "generate", parameters, started) if observing.wanted else None
        try:
            request, cancellation, validator = self._prepare(prompt, messages, parameters, started)
            if watch is not None:
                watch.start_generation(request, cancellation)
            if type(self).astream is not BaseBackend.astream:
                events = self.astream(request, cancellation)
            else:
                events = in_thread(lambda: self.stream(request, cancellation), cancellation)
        except BaseException as error:
            if watch is not None:
                watch.fail(error)
            raise
        events = avalidated(self._in_flight.athrough(events), validator)
        events = events if watch is None else watch.aevents(events, cancellation)
        return AsyncTextStream(events, cancellation, validator.cancelled, validator.reader)

    def _prepare(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, object] | None, started: float
    ) -> tuple[GenerationRequest, CancellationToken, EventValidator]:
        """The request as the engine gets it, its cancellation, and what checks its events."""
        self._require_full("chat" if prompt is None else "async calls")
        self._require_task("generate")
        parameters, kind = take_type(parameters)
        request, dropped, own = self._resolve(prompt, messages, parameters)
        reader = answer_reader(request, kind, validate=not self.enforces_formats)
        cancellation = CancellationToken(request.timeout, started)
        checks = EventValidator(self.name, request, cancellation, dropped, self._say_where(own), reader)
        return request, cancellation, checks

    def _resolve(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, object] | None
    ) -> ResolvedRequest:
        """Make the request, once, and refuse what this backend can't do."""
        able = self.capabilities
        resolved = resolve_request(
            prompt,
            messages,
            parameters,
            backend=self.name,
            supported=able.parameters,
            server_defaults=able.server_defaults,
            named=self._named,
            model=self.default_parameters(),
        )
        request = resolved.request
        if request.messages:
            if not able.images and any(message.has_images for message in request.messages):
                raise UnsupportedError("images in messages", self.name)
            if "tools" not in able.parameters and any(m.tool_calls or m.role == "tool" for m in request.messages):
                raise UnsupportedError("tool calls in messages", self.name)
        if request.engine:
            try:
                self.check_engine_options(request.engine)
            except RequestError as error:
                if "engine" not in resolved.own and self._named is not None:
                    error.add_place(self._named.place)
                raise
        return resolved

    def _say_where(self, own: Mapping[str, object]) -> Callable[[RequestError], None] | None:
        """Says in an error where a wrong value was set, unless it is one of the caller's *own* parameters."""
        return None if self._named is None else functools.partial(self._named.say_where, own)

    def _check_batch(self, parameters: Mapping[str, object] | None) -> None:
        super()._check_batch(parameters)
        if not self.is_basic:
            self._require_task("generate")
            self._resolve("x", None, take_type(parameters)[0])

    def _require_full(self, feature: str) -> None:
        if self.is_basic:
            raise UnsupportedError(feature, self.name, "It has only the basic methods.")

    def _require_task(self, task: Task) -> None:
        """Raises UnsupportedError or ModelNotLoadedError."""
        declared = self.spec.capabilities.tasks if self.spec is not None else Capabilities().tasks
        if task not in declared:
            raise task_error(task, self.name, declared, declared)
        self._require_model()
        able = self.capabilities.tasks
        if task not in able:
            raise task_error(task, self.name, able, declared)

    def _require_model(self) -> None:
        if not self.is_model_loaded():
            raise ModelNotLoadedError() if self._lost is None else ModelNotLoadedError(self._lost)


@functools.lru_cache(maxsize=256)  # every call asks
def _is_basic(backend: type[BaseBackend]) -> bool:
    return all(getattr(backend, name) is getattr(BaseBackend, name) for name in _FULL)
