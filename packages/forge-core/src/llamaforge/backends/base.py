"""The contract between LlamaForge and a backend."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from .. import forks
from ..awaitables import AwaitableResult
from ..bridges import in_loop, in_thread
from ..cancellation import CancellationToken
from ..errors import ModelNotLoadedError, UnknownParameterError, UnsupportedError
from ..event_validation import EventValidator, avalidated, validated
from ..messages import Message
from ..parameters import canonical, read_parameters
from ..requests import GenerationRequest, ResolvedRequest, resolve_request
from ..results import Event
from ..signatures import overridable
from ..streams import AsyncTextStream, TextStream
from .calls import GenerationCalls, Messages
from .config import BackendConfig
from .inflight import InFlight
from .loading import import_engine, loading
from .memory import MemoryUsage
from .spec import BackendSpec, Capabilities

__all__ = ["BaseBackend", "import_engine"]


class BaseBackend(GenerationCalls):
    """Base class of all backends.

    **To use one**, load a model and ask it::

        backend = get_backend("llama.cpp")()
        backend.load_model("model.gguf", {"n_ctx": 4096})
        answer = backend.generate("Why is the sky blue?", {"max_tokens": 100})

    **To write one**, there are two levels.

    *Basic*: override ``load_model``, ``generate``, ``generate_stream`` and ``is_model_loaded``, as in the reference.
    Parameters then arrive as the caller gave them, and checking them is yours. There is no chat.

    *Full*: set :attr:`spec` and :attr:`config_class`, and write three methods:

    * ``load(model_path, config)`` opens the model; the parameters have been checked already.
    * ``unload()`` gives its memory back.
    * ``stream(request, cancellation)`` yields :class:`~llamaforge.results.TextDelta` events and then one
      :class:`~llamaforge.results.Finished`; ``astream(request, cancellation)`` is the same as an asynchronous
      generator: write one of the two. When the caller leaves, the generator is closed: stop the engine in ``finally``.
      If the engine computes for long between two events, it must look at ``cancellation.stopped`` meanwhile. Several
      threads may call it at once.

    Everything else is made of those: checked parameters, ``generate``, ``chat``, their streams and asynchronous twins,
    timeouts, cancellation, timings.
    A complete small one to read is :class:`llamaforge.backends.echo.EchoBackend`.
    """

    spec: ClassVar[BackendSpec | None] = None
    """What the plugin says of this backend. None for a basic one."""
    config_class: ClassVar[type[BackendConfig]] = BackendConfig
    """Its load parameters."""

    def __init__(self) -> None:
        self._model_path: str | None = None
        self._config: BackendConfig | None = None
        self._named: Mapping[str, Any] = {}
        self._loading = threading.RLock()
        self._in_flight = InFlight()
        self._lost: str | None = None  # why a model that was loaded isn't any more
        forks.watch(self)

    # What a full backend writes.

    def load(self, model_path: str, config: Any) -> None:
        """Open the model at *model_path* (a local path or the engine's own id) with checked parameters."""
        raise NotImplementedError(f"{type(self).__name__} must override load() or load_model().")

    def unload(self) -> None:
        """Give back what ``load`` took."""

    def check_model(self, model_path: str, config: Any) -> None:
        """Refuse a model that is clearly none, cheaply, before the model that is loaded now is given up."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Generate: text events, then exactly one ``Finished``.

        *request* is checked: all that it asks for is declared in :attr:`spec`, and where the choice is ours the
        defaults are filled in.
        """
        raise NotImplementedError(f"{type(self).__name__} must override stream(), astream(), or the basic methods.")

    def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """The same as :meth:`stream`, for an engine that is asynchronous: override one of the two."""
        raise NotImplementedError(f"{type(self).__name__} must override stream(), astream(), or the basic methods.")

    def render_request(self, request: GenerationRequest) -> str:
        """The text that the engine will see for *request*."""
        raise UnsupportedError("render", self.name)

    def default_parameters(self) -> Mapping[str, Any]:
        """What the loaded model recommends: generation parameters by canonical name.

        They apply before core's defaults where neither the request nor the named model gives one. The base class has
        none.
        """
        return {}

    def memory(self) -> MemoryUsage | None:
        """The memory that the loaded model takes. None: unknown, or no model is loaded."""
        return None

    def check_engine_options(self, options: Mapping[str, Any]) -> None:
        """Refuse what ``engine={...}`` may not hold. The base class knows names only."""
        known = self.capabilities.engine_options
        for name in options:
            if name not in known:
                raise UnknownParameterError(name, known, where=f"{self.name} engine option")

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
        """What this backend can do; a loaded model may add to or take from what the spec says."""
        return self.spec.capabilities if self.spec is not None else Capabilities()

    @property
    def is_basic(self) -> bool:
        """Whether the author wrote only the four basic methods."""
        return type(self).stream is BaseBackend.stream and type(self).astream is BaseBackend.astream

    @property
    def model_path(self) -> str | None:
        """What is loaded now, or None."""
        return self._model_path

    @property
    def requests_in_flight(self) -> int:
        """How many requests are being answered: from the first event asked for to the last."""
        return self._in_flight.count

    @property
    def last_request_ended(self) -> float:
        """When the last request ended, by ``time.monotonic()``; 0 if none has."""
        return self._in_flight.last_exit

    @overridable
    def load_model(self, model_path: str | os.PathLike[str], parameters: Mapping[str, Any] | None = None) -> None:
        """Load a model from the given path with the given parameters.

        A model that was loaded before is unloaded first, but not for bad parameters or a path where no model is.

        Raises UnknownParameterError or InvalidParameterError for *parameters*, a ModelError for the model, and
        EngineNotAvailableError if the engine's library is missing.
        """
        config = self.config_class.read(parameters)
        path = os.fspath(model_path)
        with self._loading:
            with loading(path):
                self.check_model(path, config)
            if self._model_path is not None:
                self.unload_model()
            with loading(path):
                self.load(path, config)
            self._loaded_from(path, config)

    def unload_model(self, *, wait: bool | float = False) -> None:
        """Give the model's memory back. Without a model, do nothing.

        Args:
            wait: False cancels the requests in flight at once. True waits until they have ended and refuses new ones
                meanwhile; a number waits at most so many seconds and cancels the rest. A stream is in flight from the
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

    def set_defaults(self, parameters: Mapping[str, Any]) -> None:
        """Use these generation parameters where a request gives none; a named model's parameters get here.

        They take precedence over what the model recommends and over core's defaults. Each call replaces the last.

        Raises UnknownParameterError, InvalidParameterError or ConflictingParametersError.
        """
        read_parameters(parameters)
        self._named = canonical(parameters)

    def render(
        self,
        prompt: str | None = None,
        *,
        messages: Iterable[Message | Mapping[str, Any]] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """The exact text that the engine will see, special tokens and all.

        Raises what :meth:`generate` raises for the same request.
        """
        self._require_full("render")
        self._require_model()
        return self.render_request(self._resolve(prompt, messages, parameters).request)

    def health(self) -> AwaitableResult[bool]:
        """Whether it can answer: a model is loaded, and its server, if it has one, is well. May be awaited."""
        return AwaitableResult(self.is_model_loaded)

    def close(self) -> None:
        """Unload the model, if one is loaded."""
        if not self.is_basic:
            self.unload_model()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await AwaitableResult(self.close)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._model_path or 'without a model'}>"

    def _loaded_from(self, path: str, config: BackendConfig | None = None) -> None:
        """A model is loaded now: let requests in."""
        self._model_path, self._config, self._lost = path, config, None
        self._in_flight.open()

    @contextlib.contextmanager
    def _unloading(self, wait: bool | float) -> Iterator[bool]:
        """Wait for the requests in flight as asked, and forget the model. Gives whether there was one."""
        limit = None if wait is True else float(wait)
        with self._in_flight.drain_limit(limit), self._loading:
            loaded = self._model_path is not None
            if loaded:
                if limit != 0:
                    self._in_flight.drain(limit)
                self._model_path = self._config = None
            yield loaded

    def _start(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, Any] | None, started: float
    ) -> TextStream:
        request, cancellation, validator = self._prepare(prompt, messages, parameters, started)
        if type(self).stream is not BaseBackend.stream:
            events = self.stream(request, cancellation)
        else:
            events = in_loop(lambda: self.astream(request, cancellation), cancellation)
        return TextStream(validated(self._in_flight.through(events), validator), cancellation, validator.cancelled)

    def _astart(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, Any] | None, started: float
    ) -> AsyncTextStream:
        request, cancellation, validator = self._prepare(prompt, messages, parameters, started)
        if type(self).astream is not BaseBackend.astream:
            events = self.astream(request, cancellation)
        else:
            events = in_thread(lambda: self.stream(request, cancellation), cancellation)
        events = avalidated(self._in_flight.athrough(events), validator)
        return AsyncTextStream(events, cancellation, validator.cancelled)

    def _prepare(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, Any] | None, started: float
    ) -> tuple[GenerationRequest, CancellationToken, EventValidator]:
        """The request as the engine gets it, its cancellation, and what checks its events."""
        self._require_full("chat" if prompt is None else "async calls")
        self._require_model()
        request, dropped = self._resolve(prompt, messages, parameters)
        cancellation = CancellationToken(request.timeout, started)
        return request, cancellation, EventValidator(self.name, request, cancellation, dropped)

    def _resolve(
        self, prompt: str | None, messages: Messages | None, parameters: Mapping[str, Any] | None
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
            self.check_engine_options(request.engine)
        return resolved

    def _require_full(self, feature: str) -> None:
        if self.is_basic:
            raise UnsupportedError(feature, self.name, "It has only the basic methods.")

    def _require_model(self) -> None:
        if not self.is_model_loaded():
            raise ModelNotLoadedError() if self._lost is None else ModelNotLoadedError(self._lost)
