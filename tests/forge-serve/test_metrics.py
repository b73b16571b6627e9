"""Prometheus' figures: what core's observers tell of this server's requests, and what only HTTP knows."""

from __future__ import annotations

import gc
import json
import socket
import weakref
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from forge_serve import create_app
from llamaforge import BackendSpec, BaseBackend, LlamaForge, observers
from llamaforge.backends.registry import register_backend
from support.serving import Running, Scripted, Serve, body, get, post, until

CHAT = "/v1/chat/completions"


class Plain(BaseBackend):
    """A basic backend: what runs it tells observers."""

    spec = BackendSpec(name="plain", target=f"{__name__}:Plain", config="llamaforge:BackendConfig", summary="A test.")

    def load_model(self, model_path: Any, parameters: Mapping[str, object] | None = None) -> None:
        self._model_path = str(model_path)

    def generate(self, prompt: str, parameters: Mapping[str, object] | None = None) -> str:  # type: ignore[override]
        return prompt.upper()

    def generate_stream(self, prompt: str, parameters: Mapping[str, object] | None = None) -> Iterator[str]:  # type: ignore[override]
        yield prompt.upper()

    def is_model_loaded(self) -> bool:
        return self._model_path is not None


def asking(server: Running, text: str, model: str = "one", *, stream: bool = False) -> socket.socket:
    """A connection on which a request has been sent."""
    content = json.dumps(body(text, model=model, stream=stream)).encode()
    address = urlsplit(server.url)
    client = socket.create_connection((address.hostname, address.port))
    client.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n\r\n".encode())
    client.sendall(content)
    return client


def figures(server: Running) -> dict[str, float]:
    """All samples; a name with its labels' values, sorted by the labels' names."""
    status, text = get(server, "/metrics")
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            values = [value for name, value in sorted(sample.labels.items()) if name != "le"]
            if not sample.name.endswith("_created") and sample.labels.get("le") in (None, "+Inf"):
                found["|".join((sample.name, *values))] = sample.value
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer(server: Running, stream: bool) -> None:
    assert post(server, CHAT, body("Hello", stream=stream))[0] == 200
    until(lambda: figures(server)["llamaforge_requests_running"] == 0)
    found = figures(server)
    assert found["llamaforge_requests_total|openai|finished|one"] == 1
    assert found["llamaforge_request_duration_seconds_count|openai|one"] == 1
    assert found["llamaforge_outcomes_total|one|chat|finished"] == 1
    assert found["vllm:request_success_total|stop|one"] == 1
    assert found["vllm:prompt_tokens_total|one"] == found["vllm:prefix_cache_queries_total|one"] == 7
    assert found["vllm:prefix_cache_hits_total|one"] == 2
    assert found["vllm:generation_tokens_total|one"] == 3
    assert found["vllm:request_prompt_tokens_sum|one"] == 7
    assert found["vllm:request_generation_tokens_sum|one"] == 3
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds", "request_time_per_output_token_seconds"):
        assert found[f"vllm:{name}_count|one"] == 1
    assert found["vllm:num_requests_running|one"] == found["vllm:num_requests_waiting|one"] == 0
    assert found["llamaforge_model_memory_bytes|one"] == 10


def test_each_of_several_answers_counts(server: Running) -> None:
    assert post(server, CHAT, body("Hello", n=3))[0] == 200
    found = figures(server)
    assert found["llamaforge_requests_total|openai|finished|one"] == 1
    assert found["llamaforge_outcomes_total|one|chat|finished"] == 3
    assert found["vllm:generation_tokens_total|one"] == 9


@pytest.mark.parametrize(
    ("path", "content", "operation"),
    [
        ("/v1/embeddings", {"model": "embed", "input": ["a b", "c"]}, "embed"),
        ("/v1/rerank", {"model": "rerank", "query": "a", "documents": ["a b", "c"]}, "rerank"),
    ],
)
def test_vectors_and_rankings_have_prompts_alone(
    server: Running, path: str, content: dict[str, Any], operation: str
) -> None:
    assert post(server, path, content)[0] == 200
    found = figures(server)
    model = content["model"]
    assert found[f"llamaforge_outcomes_total|{model}|{operation}|finished"] == 1
    assert found[f"vllm:prompt_tokens_total|{model}"] > 0
    assert f"vllm:generation_tokens_total|{model}" not in found
    assert f"vllm:time_to_first_token_seconds_count|{model}" not in found


def test_what_is_refused_and_what_fails(server: Running) -> None:
    assert post(server, CHAT, body("Hello", temperature=-1))[0] == 400
    assert post(server, CHAT, body("fail"))[0] == 500
    found = figures(server)
    assert found["llamaforge_requests_total|openai|invalid_request|one"] == 1
    assert found["llamaforge_outcomes_total|one|chat|refused"] == 1
    assert found["llamaforge_requests_total|openai|internal|one"] == 1
    assert found["llamaforge_outcomes_total|one|chat|failed"] == 1
    assert "vllm:e2e_request_latency_seconds_count|one" not in found


def test_names_that_clients_invent_are_no_labels(server: Running) -> None:
    assert post(server, CHAT, body("Hello", model="invented"))[0] == 404
    found = figures(server)
    assert found["llamaforge_requests_total|openai|not_found|"] == 1
    assert found["llamaforge_outcomes_total||chat|refused"] == 1
    assert not [name for name in found if name.startswith("vllm:")]
    assert not [name for name in found if "invented" in name]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves(server: Running, stream: bool) -> None:
    with asking(server, "wait", stream=stream):
        assert Scripted.begun.wait(20)
        assert figures(server)["vllm:num_requests_running|one"] == 1
    until(lambda: figures(server)["vllm:num_requests_running|one"] == 0)
    until(lambda: figures(server)["llamaforge_requests_running"] == 0)
    found = figures(server)
    assert found["llamaforge_requests_total|openai|disconnected|one"] == 1
    assert found["llamaforge_outcomes_total|one|chat|cancelled"] == 1


def test_requests_wait_while_their_model_is_loaded(server: Running) -> None:
    with asking(server, "Hi", "slow") as client:
        until(lambda: figures(server).get("vllm:num_requests_waiting|slow") == 1)
        Scripted.gate.set()
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    until(lambda: figures(server)["vllm:num_requests_waiting|slow"] == 0)


def test_an_answer_in_the_background(server: Running) -> None:
    status, _, content = post(server, "/v1/responses", {"model": "one", "input": "Hello", "background": True})
    assert status == 200, content
    until(lambda: figures(server).get("vllm:generation_tokens_total|one") == 3)


@pytest.mark.parametrize("stream", [False, True])
def test_a_basic_backend(serve: Serve, forge: LlamaForge, stream: bool) -> None:
    register_backend("plain", Plain, replace=True)
    forge.add_model("plain", "plain", backend="plain")
    with serve() as server:
        content = {"model": "plain", "prompt": "Hello", "stream": stream}
        status, _, answer = post(server, "/v1/completions", content)
        assert status == 200, answer
        until(lambda: figures(server).get("llamaforge_outcomes_total|plain|generate|finished") == 1)


def test_others_of_the_same_process_are_left_out(serve: Serve, forge: LlamaForge) -> None:
    with serve() as first, serve() as second:
        assert post(first, CHAT, body("Hello"))[0] == 200
        forge.generate("Hello", model="one")
        assert figures(first)["llamaforge_outcomes_total|one|chat|finished"] == 1
        assert "llamaforge_outcomes_total|one|generate|finished" not in figures(first)
        assert not [name for name in figures(second) if name.startswith("llamaforge_outcomes_total|")]


def test_nobody_observes_once_the_server_has_ended(serve: Serve) -> None:
    before = observers.attached()
    with serve():
        assert len(observers.attached()) == len(before) + 1
    assert observers.attached() == before


def test_an_application_without_a_lifespan_observes_as_long_as_it_is_there(forge: LlamaForge) -> None:
    before = observers.attached()
    app = create_app(forge)
    assert len(observers.attached()) == len(before) + 1
    gone = weakref.ref(app)
    del app
    gc.collect()
    assert gone() is None
    assert observers.attached() == before
