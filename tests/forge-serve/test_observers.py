"""The server's requests are observed like all others."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from forge_serve import ServeConfig
from forge_serve.keys import Key
from llamaforge import LlamaForge, observers
from llamaforge.backends.registry import register_backend
from support.ear import Ear
from support.serving import Running, Scripted, Serve, body, post, running, until


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One server for all tests that leave it as it was."""
    register_backend("scripted", Scripted, replace=True)
    with LlamaForge(tmp_path_factory.mktemp("models") / "models.toml") as forge:
        for name in ("one", "broken"):
            forge.add_model(name, name, backend="scripted")
        forge.add_model("echo", "echo", backend="echo", parameters={"n_ctx": 64})
        for task in ("embed", "rerank"):
            forge.add_model(task, task, backend="echo", parameters={"task": task, "n_ctx": 64})
        with running(forge, ServeConfig()) as server:
            yield server


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    with observers.attach(ear):
        yield ear


@pytest.mark.parametrize("stream", [False, True])
def test_each_answer_starts_and_ends_once(shared: Running, ear: Ear, stream: bool) -> None:
    status, _, _ = post(shared, "/v1/chat/completions", body("Hello", model="echo", stream=stream, max_tokens=5))
    assert status == 200
    until(lambda: ear.ended)
    ((request, end),) = ear.ended
    assert len(ear.started) == 1
    assert (request.operation, request.model, request.parameters["max_tokens"]) == ("chat", "echo", 5)
    assert (end.outcome, end.finish_reason) == ("finished", "stop")
    assert end.usage is not None


def test_vectors(shared: Running, ear: Ear) -> None:
    content: Any = {"model": "embed", "input": ["a b", "c"]}
    assert post(shared, "/v1/embeddings", content)[0] == 200
    ((request, end),) = ear.ended
    assert (request.operation, request.model, end.outcome) == ("embed", "embed", "finished")


def test_what_is_refused(shared: Running, ear: Ear) -> None:
    status, _, _ = post(shared, "/v1/chat/completions", body("Hello", model="echo", temperature=-1))
    assert status == 400
    ((_, end),) = ear.ended
    assert end.outcome == "refused"


PATHS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "generate",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/api/chat": "chat",
    "/api/generate": "chat",
    "/v1/embeddings": "embed",
    "/api/embed": "embed",
    "/api/embeddings": "embed",
    "/v1/rerank": "rerank",
    "/v2/rerank": "rerank",
}
"""The endpoints whose requests are observed, and what they ask for."""
MESSAGES = [{"role": "user", "content": "Hi"}]
FIELDS: dict[str, Any] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 9},
    "/v1/responses": {"input": "Hi"},
    "/api/chat": {"messages": MESSAGES},
    "/api/generate": {"prompt": "Hi"},
    "/v1/embeddings": {"input": "Hi"},
    "/api/embed": {"input": "Hi"},
    "/api/embeddings": {"prompt": "Hi"},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
    "/v2/rerank": {"query": "a", "documents": ["b"]},
}
UNREADABLE = {"no JSON": b"{", "no object": b"[]", "too deep": b"[" * 5000, "nothing": b"", "no model": b"{}"}


def refused(ear: Ear, operation: str, model: str) -> None:
    request, end = ear.only()
    assert (request.operation, request.backend, request.model) == (operation, "", model)
    assert end.outcome == "refused"
    assert end.error is not None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content", UNREADABLE)
def test_bodies_that_cannot_be_read(shared: Running, ear: Ear, path: str, content: str) -> None:
    assert post(shared, path, UNREADABLE[content])[0] == 400
    refused(ear, PATHS[path], "")


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_model(shared: Running, ear: Ear, path: str) -> None:
    assert post(shared, path, {"model": "nobody", **FIELDS[path]})[0] == 404
    refused(ear, PATHS[path], "nobody")


@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_cannot_be_loaded(shared: Running, ear: Ear, path: str) -> None:
    assert post(shared, path, {"model": "broken", **FIELDS[path]})[0] == 503
    refused(ear, PATHS[path], "broken")


@pytest.mark.parametrize("path", PATHS)
def test_a_deadline_that_is_none(shared: Running, ear: Ear, path: str) -> None:
    content = {"model": "echo", **FIELDS[path]}
    assert post(shared, path, content, **{"x-request-timeout": "soon"})[0] == 400
    assert ear.only()[1].outcome == "refused"


@pytest.mark.parametrize("path", PATHS)
def test_a_model_of_another_task(shared: Running, ear: Ear, path: str) -> None:
    """It reaches the backend, which refuses it."""
    model = "rerank" if PATHS[path] == "embed" else "embed"
    assert post(shared, path, {"model": model, **FIELDS[path]})[0] == 400
    request, end = ear.only()
    assert (request.operation, request.backend, end.outcome) == (PATHS[path], "echo", "refused")


def test_a_body_that_is_too_large(serve: Serve, ear: Ear) -> None:
    with serve(max_body=100) as server:
        assert post(server, "/v1/embeddings", {"model": "embed", "input": "x" * 100})[0] == 413
    refused(ear, "embed", "")


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue(serve: Serve, ear: Ear, stream: bool) -> None:
    with serve(max_queue=1) as server:
        first = ask(server, body("think"))
        assert Scripted.begun.wait(20)
        assert post(server, "/v1/chat/completions", body("Hi", stream=stream))[0] == 429
        ((request, end),) = ear.ended
        assert (request.model, end.outcome) == ("one", "refused")
        first.close()
        until(lambda: len(ear.ended) == 2)
    assert [end.outcome for _, end in ear.ended] == ["refused", "cancelled"]
    assert len(ear.started) == 2


def ask(server: Running, content: dict[str, Any]) -> HTTPConnection:
    """A request whose answer nobody waits for."""
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    connection.request("POST", "/v1/chat/completions", json.dumps(content), {"content-type": "application/json"})
    return connection


def test_a_client_that_leaves_while_its_model_loads(server: Running, ear: Ear) -> None:
    connection = ask(server, body("Hi", model="slow"))
    until(lambda: server.residency.requests("slow"))
    connection.close()
    until(lambda: ear.ended)
    Scripted.gate.set()
    request, end = ear.only()
    assert (request.model, end.outcome, end.error) == ("slow", "cancelled", None)


def test_a_client_that_leaves_amid_its_body(shared: Running, ear: Ear) -> None:
    host, port = urlsplit(shared.url).netloc.split(":")
    with socket.create_connection((host, int(port)), 20) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{")
    until(lambda: ear.ended)
    request, end = ear.only()
    assert (request.operation, end.outcome) == ("chat", "cancelled")


@pytest.mark.parametrize("model", ["nobody", "broken", "echo"])
def test_responses_in_the_background(shared: Running, ear: Ear, model: str) -> None:
    status, _, _ = post(shared, "/v1/responses", {"model": model, "input": "Hi", "background": True})
    assert status == (404 if model == "nobody" else 200)
    until(lambda: ear.ended)
    request, end = ear.only()
    assert (request.model, end.outcome) == (model, "finished" if model == "echo" else "refused")


def test_what_asks_no_model_is_not_observed(shared: Running, ear: Ear) -> None:
    assert post(shared, "/tokenize", {"model": "nobody", "prompt": "Hi"})[0] == 404
    assert post(shared, "/v1/messages/count_tokens", {"model": "nobody", "messages": MESSAGES})[0] == 404
    assert post(shared, "/api/show", {"model": "nobody"})[0] == 404
    assert post(shared, "/v1/none", {})[0] == 404
    assert post(shared, "/api/generate", {"model": "echo", "keep_alive": -1})[0] == 200  # only loads it
    assert (ear.started, ear.ended) == ([], [])


def test_strangers_are_not_observed(serve: Serve, ear: Ear) -> None:
    with serve(keys=(Key.of("sesame"),)) as server:
        assert post(server, "/v1/chat/completions", body("Hi"))[0] == 401
    assert ear.started == []


def test_several_choices_are_several_requests(shared: Running, ear: Ear) -> None:
    assert post(shared, "/v1/chat/completions", body("Hi", n=3))[0] == 200
    until(lambda: len(ear.ended) == 3)
    assert {end.outcome for _, end in ear.ended} == {"finished"}
    assert len(ear.started) == 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_clients_trace_is_told(shared: Running, ear: Ear, stream: bool) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"traceparent": trace, "TraceState": "a=1", "authorization": "Bearer secret"}
    assert post(shared, "/v1/chat/completions", body("Hi", stream=stream), **headers)[0] == 200
    until(lambda: ear.ended)
    assert ear.only()[0].incoming == {"traceparent": trace, "tracestate": "a=1"}
