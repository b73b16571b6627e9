"""What observers add to a request reaches the server, and they hear which server it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from llamaforge import observers
from llamaforge.errors import ServerError
from llamaforge.observers import ObservedRequest, Observer, RequestEnd
from support.scripted import ScriptedServer, error_reply, json_reply

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Traces(Observer):
    def __init__(self) -> None:
        self.heard: list[tuple[ObservedRequest, RequestEnd]] = []

    def on_start(self, request: ObservedRequest) -> None:
        request.headers["traceparent"] = TRACE

    def on_end(self, request: ObservedRequest, end: RequestEnd) -> None:
        self.heard.append((request, end))


@pytest.fixture
def traces() -> Iterator[Traces]:
    traces = Traces()
    with observers.attach(traces):
        yield traces


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("timeout", [None, 60.0])
def test_headers_are_sent_with_the_request(
    server: ScriptedServer, load: Any, traces: Traces, asynchronous: bool, timeout: float | None
) -> None:
    backend = load()
    answer = backend.generate("Hi", timeout=timeout) if not asynchronous else asyncio.run(backend.agenerate("Hi"))
    assert answer == "Hello"
    assert server.posted()[-1].headers["traceparent"] == TRACE
    ((request, end),) = traces.heard
    assert (request.model, request.server) == ("m-1", server.url)
    assert end.outcome == "finished"
    assert end.usage is not None


@pytest.mark.parametrize("asynchronous", [False, True])
def test_so_they_are_with_vectors(server: ScriptedServer, load: Any, traces: Traces, asynchronous: bool) -> None:
    server.on("POST", "/embeddings", json_reply({"data": [{"index": 0, "embedding": [0.5, 2]}]}))
    backend = load()
    if asynchronous:
        asyncio.run(backend.aembed("a"))
    else:
        backend.embed("a")
    assert server.posted()[-1].headers["traceparent"] == TRACE


def test_without_an_observer_nothing_is_added(server: ScriptedServer, load: Any) -> None:
    load().generate("Hi")
    assert "traceparent" not in server.posted()[-1].headers


def test_an_error_of_the_server_is_a_failure(server: ScriptedServer, load: Any, traces: Traces) -> None:
    server.chat(error_reply(500))
    with pytest.raises(ServerError) as caught:
        load().generate("Hi")
    ((_, end),) = traces.heard
    assert end.outcome == "failed"
    assert end.error is caught.value
