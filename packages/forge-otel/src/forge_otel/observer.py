"""The observer: a span and measurements for each request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram, MeterProvider
from opentelemetry.propagators.textmap import DefaultGetter
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from llamaforge.observers import ObservedRequest, Observer, RequestEnd

from . import conventions as names
from ._version import __version__
from .content import input_messages, output_messages

CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The environment variable by which instrumentations of GenAI are asked for content."""
_PORTS: Final = {"http": 80, "https": 443}


class _LowerCase(DefaultGetter):
    """Reads headers whose names are in lower case, however a propagator writes them."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        return super().get(carrier, key.lower())


_LOWER: Final = _LowerCase()


class OpenTelemetryObserver(Observer):
    """A span and metrics for each request.

    The span's parent is the span that is current where the call is made, in whichever thread that is. Where none is,
    as in ``llamaforge serve`` without an instrumentation of its own, it is the client's span, which the request's
    headers name. A backend that asks a server sends the span's context with it (``traceparent``), so that the server's
    spans are its children.

    Args:
        tracer_provider: None: the global one.
        meter_provider: None: the global one.
        content: whether prompts and answers become attributes. None: as the environment variable
            ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` says; not without it.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        content: bool | None = None,
    ) -> None:
        wanted = os.environ.get(CONTENT, "").strip().lower() in ("true", "1", "span_only", "span_and_event")
        self.content = wanted if content is None else content
        about = ("llamaforge", __version__)
        self._tracer = trace.get_tracer(*about, tracer_provider, schema_url=names.SCHEMA_URL)
        meter = metrics.get_meter(*about, meter_provider, schema_url=names.SCHEMA_URL)
        self._histograms: dict[str, Histogram] = {
            key: meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)
            for key, (name, unit, description, bounds) in names.METRICS.items()
        }
        self._spans: dict[str, Span] = {}

    def on_start(self, request: ObservedRequest) -> None:
        """Begin the span, and give its context to the server."""
        attributes = _described(request)
        for name, attribute in names.PARAMETERS.items():
            value = request.parameters.get(name)
            if value is not None and value != ():
                attributes[attribute] = value
        shape = request.parameters.get("response_format")
        if shape is not None:
            kind = shape.get("type") if isinstance(shape, dict) else getattr(shape, "type", None)
            attributes[names.OUTPUT_TYPE] = "json" if str(kind).startswith("json") else "text"
        if self.content:
            _put(attributes, names.INPUT_MESSAGES, input_messages(request))
        parent = _parent(request)
        span = self._tracer.start_span(
            f"{attributes[names.OPERATION]} {request.model}".rstrip(),
            context=parent,
            kind=SpanKind.CLIENT if request.server is not None else SpanKind.INTERNAL,
            attributes=attributes,
            start_time=int(request.started * 1e9),
        )
        self._spans[request.id] = span
        propagate.inject(request.headers, trace.set_span_in_context(span, parent))

    def on_end(self, request: ObservedRequest, end: RequestEnd) -> None:
        """End the span and record what was measured."""
        total = end.timings.total or 0.0
        error = type(end.error).__name__ if end.error is not None else None
        span = self._spans.pop(request.id, None)
        if span is not None:
            if span.is_recording():
                self._complete(span, request, end, error)
            span.end(int((request.started + total) * 1e9))
        self._measure(request, end, total, error)

    def _complete(self, span: Span, request: ObservedRequest, end: RequestEnd, error: str | None) -> None:
        attributes: dict[str, Any] = {names.OUTCOME: end.outcome}
        if request.backend:
            attributes[names.RESPONSE_MODEL] = request.model
        if end.finish_reason is not None:
            attributes[names.FINISH_REASONS] = (end.finish_reason,)
        if end.usage is not None:
            for name, attribute in names.USAGE.items():
                attributes[attribute] = getattr(end.usage, name)
        _put(attributes, names.FIRST_CHUNK, end.timings.first_token)
        if end.dropped:
            attributes[names.DROPPED] = end.dropped
        if self.content:
            _put(attributes, names.OUTPUT_MESSAGES, output_messages(end))
        if error is not None:
            attributes[names.ERROR_TYPE] = error
            span.set_status(Status(StatusCode.ERROR, str(end.error)))
        span.set_attributes(attributes)

    def _measure(self, request: ObservedRequest, end: RequestEnd, total: float, error: str | None) -> None:
        histograms = self._histograms
        attributes = _described(request)
        if request.backend:
            attributes[names.RESPONSE_MODEL] = request.model
        else:  # any text may stand there: each would be a series of its own
            del attributes[names.REQUEST_MODEL]
        first, usage, here = end.timings.first_token, end.usage, request.server is None
        if usage is not None:
            counted = histograms["tokens"].record
            counted(usage.prompt_tokens, {**attributes, names.TOKEN_TYPE: "input"})
            if request.operation in ("generate", "chat"):
                counted(usage.completion_tokens, {**attributes, names.TOKEN_TYPE: "output"})
        if first is not None:
            histograms["first_chunk"].record(first, attributes)
            if here:
                histograms["server_first_token"].record(first, attributes)
                if usage is not None and usage.completion_tokens > 1 and end.outcome == "finished":
                    per_token = (total - first) / (usage.completion_tokens - 1)
                    histograms["server_per_token"].record(per_token, attributes)
        if error is not None:
            attributes[names.ERROR_TYPE] = error
        histograms["duration"].record(total, attributes)
        if here:
            histograms["server_duration"].record(total, attributes)

    def close(self) -> None:
        """End what nobody will end any more: spans of requests that were under way as the process ended."""
        while self._spans:
            try:
                _, span = self._spans.popitem()
            except KeyError:
                return
            span.end()


def _parent(request: ObservedRequest) -> Context | None:
    """The context of the span's parent; None: the one that is current."""
    if not request.incoming or trace.get_current_span().get_span_context().is_valid:
        return None
    return propagate.extract(request.incoming, getter=_LOWER)


def _described(request: ObservedRequest) -> dict[str, Any]:
    """The attributes of spans and measurements alike."""
    attributes: dict[str, Any] = {
        names.OPERATION: names.OPERATIONS[request.operation],
        names.PROVIDER: request.backend or names.NO_BACKEND,
        names.REQUEST_MODEL: request.model,
    }
    if request.server is not None:
        try:
            parts = urlsplit(request.server)
            attributes[names.SERVER_ADDRESS] = parts.hostname or request.server
            _put(attributes, names.SERVER_PORT, parts.port or _PORTS.get(parts.scheme))
        except ValueError:  # an address that is none
            attributes[names.SERVER_ADDRESS] = request.server
    return attributes


def _put(attributes: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        attributes[name] = value
