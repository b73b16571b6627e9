"""Backends with only the four basic methods, brought to the same results as all others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..cancellation import CancellationToken
from ..errors import ModelNotLoadedError
from ..event_validation import EventValidator, validated
from ..requests import GenerationRequest, read_request
from ..results import Event, Finished, TextDelta
from ..streams import TextStream
from .base import BaseBackend


def basic_text(backend: BaseBackend, prompt: str, parameters: Mapping[str, Any], *, streamed: bool) -> TextStream:
    """The answer of a basic *backend* as a stream; in one piece where not *streamed*.

    *parameters* reach the backend as they are. ``finish_reason`` is ``unknown`` and ``usage`` None: it tells neither.

    Raises ModelNotLoadedError and EmptyPromptError; what the backend raises becomes a GenerationError.
    """
    started = time.perf_counter()
    request = read_request(prompt)
    if not backend.is_model_loaded():
        raise ModelNotLoadedError()
    given = dict(parameters)
    cancellation = CancellationToken(started=started)
    checker = EventValidator(type(backend).__name__, request, cancellation, (), started)
    events = validated(_events(backend, request, given, streamed), checker)
    return TextStream(events, cancellation, Finished(finish_reason="cancelled", parameters=given))


def _events(backend: BaseBackend, request: GenerationRequest, given: dict[str, Any], streamed: bool) -> Iterator[Event]:
    prompt = request.prompt or ""
    if streamed and type(backend).generate_stream is not BaseBackend.generate_stream:
        pieces = iter(backend.generate_stream(prompt, given))
        try:
            for piece in pieces:
                yield TextDelta(str(piece))
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()
    else:
        yield TextDelta(str(backend.generate(prompt, given)))
    yield Finished(finish_reason="unknown", parameters=given)
