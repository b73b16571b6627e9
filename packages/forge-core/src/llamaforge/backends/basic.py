"""Gives backends with only the four basic methods the interface of all others."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from typing import Any

from .. import observing
from ..bridges import in_thread
from ..cancellation import CancellationToken
from ..errors import ContractError, ModelNotLoadedError, UnsupportedError
from ..event_validation import EventValidator, avalidated, validated
from ..messages import Message
from ..requests import GenerationRequest, read_request
from ..results import Event, Finished, GeneratedText, TextDelta
from ..streams import AsyncTextStream, TextStream
from ..validation import check_mapping
from .base import BaseBackend
from .loading import checked_path, loading
from .watching import Watch, begin, refused


class BasicBackendAdapter(BaseBackend):
    """Wraps a basic backend: adds streams, asynchronous calls, batches and results.

    The author's methods get the caller's parameters unchanged, together with the named model's. ``finish_reason`` is
    ``unknown`` and ``usage`` is None, because the basic methods report neither. Chat is refused.

    Other attributes are those of :attr:`backend`.

    Args:
        backend: the author's backend.
    """

    def __init__(self, backend: BaseBackend) -> None:
        super().__init__()
        self.backend = backend
        self._defaults: Mapping[str, object] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["backend"], name)

    @property
    def name(self) -> str:
        """The backend's name."""
        return self.backend.name

    def load_model(self, model_path: str | os.PathLike[str], parameters: Mapping[str, object] | None = None) -> None:
        """Load a model. Anything that the author's method raises becomes a ModelLoadError."""
        path = checked_path(model_path)
        with loading(path):
            found: object = self.backend.load_model(path, parameters)
            if inspect.isawaitable(found):
                raise self._broken("load_model", found, "None")
        self._loaded_from(path)

    def unload_model(self, *, wait: bool | float = False) -> None:
        """Wait for running requests as requested, then call the author's ``unload_model``, if there is one."""
        with self._unloading(wait):
            if type(self.backend).unload_model is not BaseBackend.unload_model:
                self.backend.unload_model()

    def is_model_loaded(self) -> bool:
        """Whether a model is loaded."""
        found: object = self.backend.is_model_loaded()
        if inspect.isawaitable(found):
            raise self._broken("is_model_loaded", found, "True or False")
        return bool(found)

    def set_defaults(self, parameters: Mapping[str, object], *, place: str = "") -> None:
        """Set default parameters for the author's methods. They are not checked."""
        check_mapping(parameters)
        self._defaults = dict(parameters or {})

    def generate(self, prompt: str, parameters: Mapping[str, object] | None = None, **more: Any) -> GeneratedText:
        """Generate text with the author's ``generate``. Anything that it raises becomes a GenerationError."""
        return self._whole(prompt, self._merged("generate", parameters, more)).read()

    def generate_at_once(self, prompt: str, parameters: Mapping[str, object] | None = None) -> TextStream:
        """:meth:`generate` as a stream of one piece, which can be cancelled."""
        return self._whole(prompt, parameters)

    def generate_stream(self, prompt: str, parameters: Mapping[str, object] | None = None, **more: Any) -> TextStream:
        """Stream text from the author's ``generate_stream`` or, without one, from ``generate`` in one piece."""
        return self._open(prompt, self._merged("generate", parameters, more), streamed=True)

    def agenerate_stream(
        self, prompt: str, parameters: Mapping[str, object] | None = None, **more: Any
    ) -> AsyncTextStream:
        """Asynchronous :meth:`generate_stream`: the author's method runs in a separate thread."""
        return self._aopen(prompt, self._merged("generate", parameters, more), streamed=True)

    def chat_stream(
        self,
        messages: Iterable[Message | Mapping[str, object]],
        parameters: Mapping[str, object] | None = None,
        **more: Any,
    ) -> TextStream:
        """Raises UnsupportedError."""
        raise self._no_chat(parameters)

    def achat_stream(
        self,
        messages: Iterable[Message | Mapping[str, object]],
        parameters: Mapping[str, object] | None = None,
        **more: Any,
    ) -> AsyncTextStream:
        """Raises UnsupportedError."""
        raise self._no_chat(parameters)

    def __repr__(self) -> str:
        return repr(self.backend)

    def _whole(self, prompt: str, parameters: Mapping[str, object] | None) -> TextStream:
        # The author's generate() need not say what generate_stream() says.
        return self._open(prompt, parameters, streamed=False)

    def _awhole(self, prompt: str, parameters: Mapping[str, object] | None) -> AsyncTextStream:
        return self._aopen(prompt, parameters, streamed=False)

    def _open(self, prompt: str, parameters: Mapping[str, object] | None, *, streamed: bool) -> TextStream:
        watch = begin(self, "generate", parameters, time.perf_counter()) if observing.wanted else None
        request, given, cancellation, validator = self._prepare_basic(prompt, parameters, watch)
        events = validated(self._in_flight.through(self._events(request, given, streamed=streamed)), validator)
        if watch is not None:
            events = watch.events(events, cancellation)
        return TextStream(events, cancellation, validator.cancelled)

    def _aopen(self, prompt: str, parameters: Mapping[str, object] | None, *, streamed: bool) -> AsyncTextStream:
        watch = begin(self, "generate", parameters, time.perf_counter()) if observing.wanted else None
        request, given, cancellation, validator = self._prepare_basic(prompt, parameters, watch)
        events = in_thread(lambda: self._events(request, given, streamed=streamed), cancellation)
        events = avalidated(self._in_flight.athrough(events), validator)
        if watch is not None:
            events = watch.aevents(events, cancellation)
        return AsyncTextStream(events, cancellation, validator.cancelled)

    def _prepare_basic(
        self, prompt: str, parameters: Mapping[str, object] | None, watch: Watch | None
    ) -> tuple[GenerationRequest, dict[str, Any], CancellationToken, EventValidator]:
        try:
            request = read_request(prompt)
            check_mapping(parameters)
            if not self.is_model_loaded():
                raise ModelNotLoadedError()
        except BaseException as error:
            if watch is not None:
                watch.fail(error)
            raise
        cancellation = CancellationToken()
        validator = EventValidator(self.name, request, cancellation, ())
        given = {**self._defaults, **(parameters or {})}
        if watch is not None:
            watch.start_basic(request, given, cancellation)
        return request, given, cancellation, validator

    def _events(self, request: GenerationRequest, given: dict[str, Any], *, streamed: bool) -> Iterator[Event]:
        prompt = request.prompt or ""
        if streamed and type(self.backend).generate_stream is not BaseBackend.generate_stream:
            found = self.backend.generate_stream(prompt, given)
            if not isinstance(found, Iterable) or isinstance(found, bytes):
                raise self._broken("generate_stream", found, "an iterator of strings")
            pieces = iter(found)
            try:
                for piece in pieces:
                    if not isinstance(piece, str):
                        raise self._broken("generate_stream", piece, "strings", verb="yielded")
                    yield TextDelta(str.__str__(piece))
            finally:
                close = getattr(pieces, "close", None)
                if close is not None:
                    close()
        else:
            text = self.backend.generate(prompt, given)
            if not isinstance(text, str):
                raise self._broken("generate", text, "a string")
            yield TextDelta(str.__str__(text))
        yield Finished(finish_reason="unknown", parameters=given)

    def _no_chat(self, parameters: Mapping[str, object] | None) -> UnsupportedError:
        error = UnsupportedError("chat", self.name, "It has only the basic methods.")
        refused(self, "chat", parameters, error)
        return error

    def _broken(self, method: str, found: object, expected: str, *, verb: str = "returned") -> ContractError:
        """The error for an author's method that returned something else than *expected*."""
        if inspect.iscoroutine(found):
            found.close()  # or Python would report that nobody awaited it
        is_async = inspect.isawaitable(found) or isinstance(found, AsyncIterable)
        hint = ". It must be a plain method, not async def" if is_async else ""
        kind = "None" if found is None else type(found).__name__
        return ContractError(self.name, f"its {method}() {verb} {kind}, not {expected}{hint}")
