"""The contract between LlamaForge and a backend."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, ClassVar, Self

from ..awaitables import AwaitableResult
from ..bridges import in_loop, in_thread
from ..cancellation import CancellationToken
from ..errors import ModelNotLoadedError, UnknownParameterError, UnsupportedError
from ..event_validation import EventValidator, avalidated, validated
from ..messages import Message
from ..parameters import UNIVERSAL
from ..requests import GenerationRequest, merge_parameters, read_request
from ..results import Event, Finished, GeneratedText
from ..streams import AsyncTextStream, TextStream
from .batch import BatchItem, Prompt, arun_batch, run_batch
from .config import BackendConfig
from .inflight import InFlight
from .loading import import_engine, loading
from .spec import BackendSpec, Capabilities

__all__ = ["BaseBackend", "import_engine"]


class BaseBackend:
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
        self._loading = threading.RLock()
        self._in_flight = InFlight()

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
        """Generation parameters, by canonical name, that the loaded model brings where a request gives none.

        They go before core's defaults. The base class has none.
        """
        return {}

    def check_engine_options(self, options: Mapping[str, Any]) -> None:
        """Refuse what ``engine={...}`` may not hold. The base class knows names only."""
        known = self.capabilities.engine_options
        for name in options:
            if name not in known:
                raise UnknownParameterError(name, known, where=f"{self.name} engine option")

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
        """Whether this backend has only the four basic methods."""
        return type(self).stream is BaseBackend.stream and type(self).astream is BaseBackend.astream

    @property
    def model_path(self) -> str | None:
        """What is loaded now, or None."""
        return self._model_path

    def load_model(self, model_path: str | os.PathLike[str], parameters: Mapping[str, Any] | None = None) -> None:
        """Load a model from the given path with the given parameters.

        A model that was loaded before is given up, but not for bad parameters or a path where no model is.

        Raises UnknownParameterError or InvalidParameterError for *parameters*, a ModelError for the model, and
        EngineNotAvailableError where the engine's library is missing.
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
            self._model_path, self._config = path, config
            self._in_flight.open()

    def unload_model(self, *, wait: bool | float = False) -> None:
        """Give the model's memory back. Without a model: nothing to do.

        Args:
            wait: True waits until the requests under way have ended, and refuses new ones meanwhile; a number waits at
                most so many seconds. What is under way then breaks off, with False at once. A stream that was begun and
                neither read to its end nor closed is under way. Of several threads that unload, the one that waits
                least counts.
        """
        if self.is_basic:
            raise UnsupportedError("unload_model", self.name, "Drop the backend instead.")
        longest = None if wait is True else float(wait)
        with self._in_flight.drain_limit(longest), self._loading:
            if self._model_path is not None:
                if longest != 0:
                    self._in_flight.drain(longest)
                self._model_path = self._config = None
                self.unload()

    def is_model_loaded(self) -> bool:
        """Check if a model is loaded."""
        return self._model_path is not None

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """Generate text from the given prompt with the given parameters.

        The prompt is one user turn where the model has a chat template; ``raw=True`` sends it as it stands.
        Parameters may be given by name, too. Returns a ``str`` that also knows ``finish_reason``, ``usage``,
        ``timings`` and more.

        Raises a RequestError before any work, and an EngineError where the engine fails.
        """
        return self.generate_stream(prompt, parameters, **more).read()

    def generate_stream(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> TextStream:
        """Stream generated text from the given prompt with the given parameters.

        The request is checked now; the engine starts with the first piece that is asked for. The pieces, joined, are
        exactly what :meth:`generate` returns.
        """
        started = time.perf_counter()
        return self._start(read_request(prompt, None, merge_parameters(parameters, more)), started)

    def chat(
        self,
        messages: Iterable[Message | Mapping[str, Any]],
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> GeneratedText:
        """Answer a conversation. *messages* are :class:`~llamaforge.messages.Message` or dicts of that shape."""
        return self.chat_stream(messages, parameters, **more).read()

    def chat_stream(
        self,
        messages: Iterable[Message | Mapping[str, Any]],
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> TextStream:
        """Stream the answer to a conversation."""
        started = time.perf_counter()
        self._require_full("chat")
        return self._start(read_request(None, messages, merge_parameters(parameters, more)), started)

    async def agenerate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """:meth:`generate` for event loops, which it never blocks."""
        return await self.agenerate_stream(prompt, parameters, **more).read()

    def agenerate_stream(
        self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any
    ) -> AsyncTextStream:
        """:meth:`generate_stream` for event loops: ``async for piece in backend.agenerate_stream(...)``."""
        started = time.perf_counter()
        self._require_full("async calls")
        return self._astart(read_request(prompt, None, merge_parameters(parameters, more)), started)

    async def achat(
        self,
        messages: Iterable[Message | Mapping[str, Any]],
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> GeneratedText:
        """:meth:`chat` for event loops."""
        return await self.achat_stream(messages, parameters, **more).read()

    def achat_stream(
        self,
        messages: Iterable[Message | Mapping[str, Any]],
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AsyncTextStream:
        """:meth:`chat_stream` for event loops."""
        started = time.perf_counter()
        self._require_full("async calls")
        return self._astart(read_request(None, messages, merge_parameters(parameters, more)), started)

    @property
    def concurrency(self) -> int:
        """Requests at once that this backend makes good use of; :meth:`generate_batch` asks so many."""
        return 8

    def generate_batch(
        self,
        prompts: Iterable[Prompt],
        parameters: Mapping[str, Any] | None = None,
        *,
        concurrency: int | None = None,
        progress: bool | Callable[[int], None] = False,
        **more: Any,
    ) -> Iterator[BatchItem]:
        """Answer any number of prompts (or conversations), in constant memory.

        Yields a :class:`~.batch.BatchItem` for each, in the order of *prompts*, which are taken as they are needed. A
        prompt that fails has its error in its own item. Leaving the iterator early cancels what is under way.

        Args:
            prompts: strings, or lists of messages.
            parameters: generation parameters for all of them.
            concurrency: requests at once. None: :attr:`concurrency`.
            progress: True draws a bar on standard error; a function is called with 1 after each answer.
            more: generation parameters by name.
        """
        merged = merge_parameters(parameters, more)

        def start(prompt: Prompt) -> TextStream:
            if isinstance(prompt, str):
                return self.generate_stream(prompt, merged)
            return self.chat_stream(prompt, merged)

        return run_batch(prompts, start, concurrency=concurrency or self.concurrency, progress=progress)

    def agenerate_batch(
        self,
        prompts: Iterable[Prompt],
        parameters: Mapping[str, Any] | None = None,
        *,
        concurrency: int | None = None,
        progress: bool | Callable[[int], None] = False,
        **more: Any,
    ) -> AsyncIterator[BatchItem]:
        """:meth:`generate_batch` for event loops: ``async for item in backend.agenerate_batch(prompts)``."""
        merged = merge_parameters(parameters, more)

        def start(prompt: Prompt) -> AsyncTextStream:
            if isinstance(prompt, str):
                return self.agenerate_stream(prompt, merged)
            return self.achat_stream(prompt, merged)

        return arun_batch(prompts, start, concurrency=concurrency or self.concurrency, progress=progress)

    def render(
        self,
        prompt: str | None = None,
        *,
        messages: Iterable[Message | Mapping[str, Any]] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> str:
        """The exact text that the engine will see, special tokens and all."""
        request = read_request(prompt, messages, parameters)
        self._require_model()
        return self.render_request(request)

    def health(self) -> AwaitableResult[bool]:
        """Whether it can be asked: a model is loaded, and its server, where it has one, is well. May be awaited."""
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

    def _start(self, request: GenerationRequest, started: float) -> TextStream:
        request, cancellation, checker, cancelled = self._prepare(request, started)
        if type(self).stream is not BaseBackend.stream:
            events = self.stream(request, cancellation)
        else:
            events = in_loop(lambda: self.astream(request, cancellation), cancellation)
        return TextStream(validated(self._in_flight.through(events), checker), cancellation, cancelled)

    def _astart(self, request: GenerationRequest, started: float) -> AsyncTextStream:
        request, cancellation, checker, cancelled = self._prepare(request, started)
        if type(self).astream is not BaseBackend.astream:
            events = self.astream(request, cancellation)
        else:
            events = in_thread(lambda: self.stream(request, cancellation), cancellation)
        return AsyncTextStream(avalidated(self._in_flight.athrough(events), checker), cancellation, cancelled)

    def _prepare(
        self, request: GenerationRequest, started: float
    ) -> tuple[GenerationRequest, CancellationToken, EventValidator, Finished]:
        """Check the request against what this backend can do; and what watches over its events."""
        self._require_model()
        request, dropped = self._accept(request)
        cancellation = CancellationToken(request.timeout, started)
        cancelled = Finished(finish_reason="cancelled", parameters=request.parameters(), dropped=dropped)
        return request, cancellation, EventValidator(self.name, request, cancellation, dropped, started), cancelled

    def _require_full(self, feature: str) -> None:
        if self.is_basic:
            raise UnsupportedError(feature, self.name, "It has only the basic methods.")

    def _require_model(self) -> None:
        if not self.is_model_loaded():
            raise ModelNotLoadedError()

    def _accept(self, request: GenerationRequest) -> tuple[GenerationRequest, tuple[str, ...]]:
        """Refuse or drop what this backend can't do, then fill in the defaults."""
        able = self.capabilities
        if not able.images and any(message.has_images for message in request.messages):
            raise UnsupportedError("images in messages", self.name)
        if "tools" not in able.parameters and any(m.tool_calls or m.role == "tool" for m in request.messages):
            raise UnsupportedError("tool calls in messages", self.name)
        unable = [name for name in request.parameters() if name not in able.parameters and name not in UNIVERSAL]
        if unable and request.on_unsupported != "drop":
            raise UnsupportedError(
                f"the parameter{'s' if len(unable) > 1 else ''} {', '.join(unable)}",
                self.name,
                'Leave it out, or pass on_unsupported="drop" to go on without it.',
            )
        if request.engine:
            self.check_engine_options(request.engine)
        request = request.without(unable).with_values(self.default_parameters())
        if not able.server_defaults:
            request = request.with_defaults(able.parameters)
        return request, tuple(unable)
