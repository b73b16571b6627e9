"""Spans and metrics for each request, into OpenTelemetry's own SDK."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import opentelemetry.semconv._incubating.attributes.gen_ai_attributes as gen_ai
import pytest
from opentelemetry import propagate
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv import schemas
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, set_span_in_context

from forge_openai import OpenAIBackend
from forge_otel import OpenTelemetryObserver, conventions
from forge_serve import ServeConfig
from llamaforge import LlamaForge, get_backend, observers
from llamaforge.arriving import arriving
from llamaforge.backends.echo import EchoBackend
from llamaforge.errors import GenerationTimeoutError, InvalidParameterError
from support.scripted import ScriptedServer, delta, models_reply, stream_reply, usage
from support.serving import Running, body, post, running, until


class Telemetry:
    """A tracer and a meter that keep what they get, and the observer that writes to them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self._meters = MeterProvider(metric_readers=[self._reader])

    def observer(self, content: bool | None = None) -> OpenTelemetryObserver:
        return OpenTelemetryObserver(self.tracers, self._meters, content=content)

    def spans(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def span(self) -> ReadableSpan:
        (span,) = self.spans()
        return span

    def points(self) -> dict[str, list[Any]]:
        """The data points of each metric."""
        found: dict[str, list[Any]] = {}
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found.setdefault(metric.name, []).extend(metric.data.data_points)
        return found

    def shutdown(self) -> None:
        self.tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    telemetry = Telemetry()
    with observers.attach(telemetry.observer()):
        yield telemetry
    telemetry.shutdown()


@pytest.fixture
def echo() -> Iterator[EchoBackend]:
    with contextlib.closing(EchoBackend()) as backend:
        backend.load_model("a-model")
        yield backend


def test_a_span_has_what_the_conventions_ask_for(telemetry: Telemetry, echo: EchoBackend) -> None:
    echo.generate("one two", temperature=0.5, max_tokens=7, seed=3, stop=["x"])
    span = telemetry.span()
    assert (span.name, span.kind) == ("text_completion a-model", SpanKind.INTERNAL)
    assert span.status.status_code is StatusCode.UNSET
    found = dict(span.attributes or {})
    first = found.pop("gen_ai.response.time_to_first_chunk")
    assert isinstance(first, float)
    assert found == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "echo",
        "gen_ai.request.model": "a-model",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.seed": 3,
        "gen_ai.request.stop_sequences": ("x",),
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.top_k": 0,
        "gen_ai.request.frequency_penalty": 0.0,
        "gen_ai.request.presence_penalty": 0.0,
        "gen_ai.response.model": "a-model",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "llamaforge.outcome": "finished",
    }
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time < span.end_time
    scope = span.instrumentation_scope
    assert scope is not None
    assert scope.schema_url == conventions.SCHEMA_URL


def test_the_names_are_those_of_the_conventions() -> None:
    known = {value for name, value in vars(gen_ai).items() if name.startswith("GEN_AI_") and isinstance(value, str)}
    known |= {value for name, value in vars(gen_ai_metrics).items() if name.startswith("GEN_AI_")}
    ours = {*conventions.PARAMETERS.values(), *conventions.USAGE.values()}
    ours |= {value for value in vars(conventions).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    ours |= {metric[0] for metric in conventions.METRICS.values()}
    assert ours <= known
    assert conventions.SCHEMA_URL in {each.value for each in schemas.Schemas}


def test_metrics(telemetry: Telemetry, echo: EchoBackend) -> None:
    echo.generate("one two three")
    points = telemetry.points()
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in points["gen_ai.client.token.usage"]}
    assert tokens == {"input": 3, "output": 3}
    (duration,) = points["gen_ai.client.operation.duration"]
    assert duration.count == 1
    assert dict(duration.attributes) == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "echo",
        "gen_ai.request.model": "a-model",
        "gen_ai.response.model": "a-model",
    }
    assert tuple(duration.explicit_bounds) == conventions.METRICS["duration"][3]
    assert set(points) == {metric[0] for metric in conventions.METRICS.values()}


def test_errors(telemetry: Telemetry, echo: EchoBackend) -> None:
    with pytest.raises(InvalidParameterError):
        echo.generate("hello", max_tokens=-1)
    span = telemetry.span()
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "InvalidParameterError"
    assert span.attributes["llamaforge.outcome"] == "refused"
    (duration,) = telemetry.points()["gen_ai.client.operation.duration"]
    assert duration.attributes["error.type"] == "InvalidParameterError"


def test_a_deadline(telemetry: Telemetry) -> None:
    with contextlib.closing(EchoBackend()) as backend:
        backend.load_model("m", {"delay": 0.05})
        with pytest.raises(GenerationTimeoutError):
            backend.generate("a b c d e f", timeout=0.01)
    span = telemetry.span()
    assert span.attributes is not None
    assert (span.attributes["error.type"], span.attributes["llamaforge.outcome"]) == (
        "GenerationTimeoutError",
        "failed",
    )


@pytest.mark.parametrize("pieces", [0, 1])
def test_no_span_of_a_dropped_stream_leaks(telemetry: Telemetry, echo: EchoBackend, pieces: int) -> None:
    stream = echo.generate_stream("one two")
    for _ in range(pieces):
        next(stream)
    del stream
    gc.collect()
    span = telemetry.span()
    assert span.attributes is not None
    assert span.attributes["llamaforge.outcome"] == "abandoned"
    assert span.status.status_code is StatusCode.UNSET


def test_a_cancelled_stream_is_no_error(telemetry: Telemetry, echo: EchoBackend) -> None:
    with echo.generate_stream("one two") as stream:
        next(stream)
    span = telemetry.span()
    assert span.attributes is not None
    assert span.attributes["llamaforge.outcome"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET


def test_the_parent_is_the_callers_span(telemetry: Telemetry, echo: EchoBackend) -> None:
    tracer = telemetry.tracers.get_tracer("test")
    with tracer.start_as_current_span("batch"):
        list(echo.generate_batch(["a", "b"]))
    with tracer.start_as_current_span("loop"):
        asyncio.run(echo.agenerate("c"))  # type: ignore[arg-type]
    ids = {span.name: span.context.span_id for span in telemetry.spans() if span.context is not None}
    parents = [
        span.parent.span_id if span.parent is not None else None
        for span in telemetry.spans()
        if span.name.startswith("text_completion")
    ]
    assert parents == [ids["batch"], ids["batch"], ids["loop"]]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_server_gets_the_spans_context(telemetry: Telemetry, asynchronous: bool) -> None:
    with ScriptedServer() as server, contextlib.closing(OpenAIBackend()) as backend:
        server.on("GET", "/models", models_reply("m-1"))
        server.chat(stream_reply(delta("Hello"), delta(finish_reason="stop"), usage(3, 2)))
        backend.load_model("m-1", {"api_key": "sk-scripted", "api_base": server.url})
        if asynchronous:
            asyncio.run(backend.achat([{"role": "user", "content": "Hi"}]))  # type: ignore[arg-type]
        else:
            backend.chat([{"role": "user", "content": "Hi"}])
        sent = server.posted()[-1].headers["traceparent"]
        address = server.url
    span = telemetry.span()
    assert (span.name, span.kind) == ("chat m-1", SpanKind.CLIENT)
    assert span.context is not None
    assert sent.startswith(f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-")
    assert span.attributes is not None
    assert f"http://{span.attributes['server.address']}:{span.attributes['server.port']}/v1" == address
    assert span.attributes["gen_ai.provider.name"] == "openai"
    assert "gen_ai.server.request.duration" not in telemetry.points()


def test_content_only_when_asked_for(telemetry: Telemetry, echo: EchoBackend, monkeypatch: Any) -> None:
    other = Telemetry()
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    with observers.attach(other.observer()):
        echo.chat([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one"}])
    plain, told = telemetry.span().attributes, other.span().attributes
    assert plain is not None
    assert told is not None
    assert set(told) - set(plain) == {"gen_ai.input.messages", "gen_ai.output.messages"}
    assert json.loads(str(told["gen_ai.input.messages"])) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "one"}]},
    ]
    (answer,) = json.loads(str(told["gen_ai.output.messages"]))
    assert (answer["role"], answer["finish_reason"]) == ("assistant", "stop")
    assert answer["parts"][0]["type"] == "text"
    other.shutdown()


def test_vectors_and_rankings(telemetry: Telemetry) -> None:
    for task in ("embed", "rerank"):
        with contextlib.closing(get_backend("echo")()) as backend:
            backend.load_model("m", {"task": task})
            if task == "embed":
                backend.embed(["a b", "c"], dimensions=3)
            else:
                backend.rerank("a", ["b"])
    embed, rerank = telemetry.spans()
    assert (embed.name, rerank.name) == ("embeddings m", "rerank m")
    assert embed.attributes is not None
    assert embed.attributes["gen_ai.embeddings.dimension.count"] == 3
    assert embed.attributes["gen_ai.usage.input_tokens"] == 3
    types = {point.attributes["gen_ai.token.type"] for point in telemetry.points()["gen_ai.client.token.usage"]}
    assert types == {"input"}


def test_many_threads(telemetry: Telemetry, echo: EchoBackend) -> None:
    threads = [threading.Thread(target=lambda: [echo.generate("one two") for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = telemetry.spans()
    assert len(spans) == 80
    assert all(span.attributes is not None and span.attributes["llamaforge.outcome"] == "finished" for span in spans)


def test_it_is_installed_under_its_name() -> None:
    assert "otel" in observers.installed()
    assert isinstance(observers.load("otel"), OpenTelemetryObserver)


TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def behind() -> Iterator[ScriptedServer]:
    """A server that models are behind."""
    with ScriptedServer() as server:
        server.on("GET", "/models", models_reply("m-1"))
        server.chat(stream_reply(delta("Hello"), delta(finish_reason="stop"), usage(3, 2)))
        yield server


@pytest.fixture
def served(behind: ScriptedServer, tmp_path: Path) -> Iterator[Running]:
    """``llamaforge serve`` with an engine of its own and a server behind forge-openai."""
    with LlamaForge(tmp_path / "models.toml") as forge:
        forge.add_model("here", "here", backend="echo")
        parameters = {"api_key": "sk-scripted", "api_base": behind.url}
        forge.add_model("there", "m-1", backend="openai", parameters=parameters)
        with running(forge, ServeConfig()) as server:
            yield server


def _ended(telemetry: Telemetry, number: int) -> list[ReadableSpan]:
    until(lambda: len(telemetry.spans()) == number)
    return telemetry.spans()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/responses"])
def test_a_clients_span_is_the_parent(telemetry: Telemetry, served: Running, path: str, stream: bool) -> None:
    content = body("Hi", model="here", stream=stream) | ({"input": "Hi"} if path == "/v1/responses" else {})
    if path == "/v1/responses":
        del content["messages"], content["max_tokens"]
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}
    assert post(served, path, content, **headers)[0] == 200
    (span,) = _ended(telemetry, 1)
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.parent.is_remote
    assert span.context is not None
    assert span.context.trace_state.get("vendor") == "1"


def test_vectors_in_a_background_response_and_what_is_refused(telemetry: Telemetry, served: Running) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    content = {"model": "here", "input": "Hi", "background": True}
    assert post(served, "/v1/responses", content, **headers)[0] == 200
    _ended(telemetry, 1)
    assert post(served, "/v1/chat/completions", b"{", **headers)[0] == 400
    assert post(served, "/v1/embeddings", {"model": "nobody", "input": "Hi"}, **headers)[0] == 404
    answered, unread, unknown = telemetry.spans()
    for span in (answered, unread, unknown):
        assert span.parent is not None
        assert f"{span.parent.trace_id:032x}" == TRACE
    assert (unread.name, unknown.name) == ("chat", "embeddings nobody")
    assert unknown.attributes is not None
    assert unknown.attributes["error.type"] == "UnknownModelError"
    assert unknown.attributes["gen_ai.provider.name"] == "llamaforge"
    assert "gen_ai.response.model" not in unknown.attributes
    models = [point.attributes.get("gen_ai.request.model") for point in _durations(telemetry)]
    assert sorted(str(model) for model in models) == ["None", "None", "here"], "a name that anybody may invent"


def _durations(telemetry: Telemetry) -> list[Any]:
    return telemetry.points()["gen_ai.client.operation.duration"]


def test_a_trace_goes_through_the_server_to_the_next_one(
    telemetry: Telemetry, served: Running, behind: ScriptedServer
) -> None:
    """A client with a span, in threads of its own: forge-openai, ``llamaforge serve``, forge-openai, a server."""
    tracer = telemetry.tracers.get_tracer("test")
    with contextlib.closing(OpenAIBackend()) as client:
        client.load_model("there", {"api_key": "sk-mine", "api_base": f"{served.url}/v1"})
        with tracer.start_as_current_span("work") as work:
            answers = list(client.generate_batch(["one", "two"], concurrency=2))
        assert [str(answer.text) for answer in answers] == ["Hello", "Hello"]
    spans = {span.context.span_id: span for span in _ended(telemetry, 5) if span.context is not None}
    trace = f"{work.get_span_context().trace_id:032x}"
    assert {f"{span.context.trace_id:032x}" for span in spans.values() if span.context is not None} == {trace}
    sent = [request.headers["traceparent"] for request in behind.posted()]
    assert len(sent) == 2
    for header in sent:
        _, of, last, _ = header.split("-")
        in_server = spans[int(last, 16)]
        assert of == trace
        assert in_server.parent is not None
        of_client = spans[in_server.parent.span_id]
        assert of_client.parent is not None
        assert of_client.parent.span_id == work.get_span_context().span_id


def test_an_instrumentation_of_the_server_comes_first(telemetry: Telemetry, echo: EchoBackend) -> None:
    """Its span is current, and the client's is that one's parent."""
    tracer = telemetry.tracers.get_tracer("test")
    with tracer.start_as_current_span("POST /v1/chat/completions") as span:
        with arriving("generate", [(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())]):
            echo.generate("one")
        own = telemetry.spans()[0]
    assert own.parent is not None
    assert own.parent.span_id == span.get_span_context().span_id


@pytest.mark.parametrize("header", ["", "00", "zz" * 30, f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01,again"])
def test_a_header_that_is_none_begins_a_new_trace(telemetry: Telemetry, served: Running, header: str) -> None:
    assert post(served, "/v1/chat/completions", body("Hi", model="here"), traceparent=header)[0] == 200
    (span,) = _ended(telemetry, 1)
    assert span.parent is None


def test_other_propagators_find_their_headers(telemetry: Telemetry, echo: EchoBackend) -> None:
    """Also one that writes its header with capital letters, which reach a server in lower case."""

    class Capitals(TextMapPropagator):
        def extract(self, carrier: Any, context: Any = None, getter: Any = default_getter) -> Any:
            found = getter.get(carrier, "X-Amzn-Trace-Id")
            at = SpanContext(int(found[0], 16), 1, True, TraceFlags(1))
            return set_span_in_context(NonRecordingSpan(at), context)

        def inject(self, *_: Any, **__: Any) -> None: ...

        @property
        def fields(self) -> set[str]:
            return {"X-Amzn-Trace-Id"}

    before = propagate.get_global_textmap()
    propagate.set_global_textmap(Capitals())
    try:
        with arriving("generate", [(b"x-amzn-trace-id", b"abc")]):
            echo.generate("one")
    finally:
        propagate.set_global_textmap(before)
    assert telemetry.span().parent is not None
    assert telemetry.span().parent.trace_id == 0xABC  # type: ignore[union-attr]
