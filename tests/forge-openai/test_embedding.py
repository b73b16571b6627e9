"""Vectors and rankings over HTTP, from a scripted server through the real SDK."""

from __future__ import annotations

import asyncio
import base64
import json
from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from llamaforge.errors import ConnectionFailedError, ModelNotFoundError, ServerError, UnsupportedError
from llamaforge.results import Usage
from support.scripted import Received, Reply, ScriptedServer, error_reply, json_reply, models_reply


def vectors_reply(request: Received) -> Reply:
    """Each text's length, and 1; backwards, as nothing says that servers keep the order."""
    rows = [(index, [float(len(text)), 1.0]) for index, text in enumerate(request.body["input"])]
    assert request.body["encoding_format"] == "base64"
    data = [{"index": index, "embedding": base64.b64encode(array("f", row).tobytes()).decode()} for index, row in rows]
    return json_reply({"data": data[::-1], "usage": {"prompt_tokens": 7, "total_tokens": 7}})


def test_vectors_are_put_in_order_in_threads_and_loops(server: ScriptedServer, load: Any) -> None:
    server.on("POST", "/embeddings", vectors_reply)
    backend = load()
    found = backend.embed(["a", "bbb", "cc"])
    assert [row.tolist() for row in found] == [[1, 1], [3, 1], [2, 1]]
    assert found.usage == Usage(prompt_tokens=7, completion_tokens=0)
    assert asyncio.run(backend.aembed(["a", "bbb", "cc"])).vectors == found.vectors
    assert backend.embed("abc", normalize=True)[0].tolist() == pytest.approx([0.9486833, 0.3162278])


def test_many_texts_are_split(server: ScriptedServer, load: Any) -> None:
    server.on("POST", "/embeddings", vectors_reply)
    assert len(load().embed("x" for _ in range(5000))) == 5000
    asked = [len(request.body["input"]) for request in server.requests if request.path.endswith("/embeddings")]
    assert asked == [2048, 2048, 904]


def test_servers_may_know_only_lists(server: ScriptedServer, load: Any) -> None:
    server.on("POST", "/embeddings", json_reply({"data": [{"index": 0, "embedding": [0.5, 2]}]}))
    found = load().embed([[1, 2]], dimensions=2)
    assert [row.tolist() for row in found] == [[0.5, 2]]
    assert found.usage is None
    sent = json.loads(server.requests[-1].raw.partition(b"\r\n\r\n")[2] or server.requests[-1].raw)
    assert (sent["input"], sent["dimensions"]) == ([[1, 2]], 2)


@pytest.mark.parametrize(
    "body",
    [{}, {"data": []}, {"data": [{"embedding": "!"}]}, {"data": [{"embedding": None}]}, {"data": 5}, [], "text"],
)
def test_an_answer_that_is_none_is_told(server: ScriptedServer, load: Any, body: Any) -> None:
    server.on("POST", "/embeddings", json_reply(body))
    with pytest.raises(ServerError):
        load().embed("x")


def test_what_a_server_does_not_do_is_refused(server: ScriptedServer, load: Any) -> None:
    server.on("POST", "/embeddings", vectors_reply)
    backend = load()
    with pytest.raises(UnsupportedError, match="normalize=False"):
        backend.embed("x", normalize=False)
    with pytest.raises(UnsupportedError, match="prompt_name"):
        backend.embed("x", prompt_name="query")
    with pytest.raises(ServerError, match="2 dimensions instead of 1"):
        backend.embed("x", dimensions=1)


def test_documents_are_ranked(server: ScriptedServer, load: Any) -> None:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]
    server.on("POST", "/rerank", json_reply({"results": results, "usage": {"total_tokens": 5}}))
    backend = load()
    ranking = backend.rerank("q", ["a", "b"])
    assert [(each.index, each.score) for each in ranking] == [(1, 0.9), (0, 0.2)]
    assert ranking.usage == Usage(prompt_tokens=5, completion_tokens=0)
    assert asyncio.run(backend.arerank("q", ["a", "b"])).documents == ranking.documents
    with pytest.raises(ServerError, match="scores"):
        backend.rerank("q", ["a", "b", "c"])


RESULTS = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]


@pytest.fixture
def bare() -> Iterator[ScriptedServer]:
    """A server whose scripts say the whole path."""
    with ScriptedServer(api="") as server:
        server.on("GET", "/v1/models", models_reply("m-1"))
        yield server


def test_a_server_may_know_only_the_second_rerank_route(bare: ScriptedServer, load: Any) -> None:
    cohere = {"results": RESULTS, "meta": {"tokens": {"input_tokens": 9}, "billed_units": {"search_units": 1}}}
    bare.on("POST", "/v2/rerank", json_reply(cohere))
    backend = load(api_base=f"{bare.url}/v1")
    for _ in range(2):
        ranking = backend.rerank("q", ["a", "b"])
        assert [(each.index, each.score) for each in ranking] == [(1, 0.9), (0, 0.2)]
        assert ranking.usage == Usage(prompt_tokens=9, completion_tokens=0)
    assert len(asyncio.run(backend.arerank("q", ["a", "b"]))) == 2
    assert [request.path for request in bare.posted()] == ["/v1/rerank", *["/v2/rerank"] * 3]
    assert len(asyncio.run(load(api_base=f"{bare.url}/v1").arerank("q", ["a", "b"]))) == 2


def test_the_first_refusal_counts_where_there_is_no_second_route(bare: ScriptedServer, load: Any) -> None:
    bare.on("POST", "/v1/rerank", error_reply(404, "This model doesn't rank."))
    backend = load(api_base=f"{bare.url}/v1")
    for ask in (backend.rerank, lambda *given: asyncio.run(backend.arerank(*given))):
        with pytest.raises(ServerError, match="doesn't rank"):
            ask("q", ["a"])
    bare.on("POST", "/v1/rerank", error_reply(501, "Start it with --reranking."))
    asked = len(bare.posted())
    with pytest.raises(ServerError, match="--reranking"):
        backend.rerank("q", ["a"])
    assert len(bare.posted()) == asked + 1


def tei(server: ScriptedServer, **more: Any) -> None:
    server.on("GET", "/info", json_reply({"model_id": "org/m-1", "max_client_batch_size": 2, **more}))
    server.on("POST", "/embed", lambda asked: json_reply([[len(text), 1.0] for text in asked.body["inputs"]]))
    server.on(
        "POST",
        "/rerank",
        lambda asked: json_reply([{"index": i, "score": 1 / len(t)} for i, t in enumerate(asked.body["texts"])][::-1]),
    )


def test_text_embeddings_inference_has_routes_of_its_own(bare: ScriptedServer, load: Any) -> None:
    tei(bare)
    for address in (bare.url, f"{bare.url}/v1"):
        backend = load("org/m-1", api_base=address, embedding_api="tei")
        found = backend.embed(["a", "bbb", [5, 6]], truncation="auto", prompt_name="query", normalize=False)
        assert [row.tolist() for row in found] == [[1, 1], [3, 1], [2, 1]]
        assert found.usage is None
        assert [request.body for request in bare.posted()[-2:]] == [
            {"inputs": ["a", "bbb"], "truncate": True, "normalize": False, "prompt_name": "query"},
            {"inputs": [[5, 6]], "truncate": True, "normalize": False, "prompt_name": "query"},
        ]
        assert asyncio.run(backend.aembed(["a"])).vectors[0].tolist() == [1, 1]
        assert bare.last.body == {"inputs": ["a"], "truncate": False}
        ranking = backend.rerank("q", ["aaaa", "b", "cc"])
        assert [(each.index, each.score) for each in ranking] == [(1, 1.0), (2, 0.5), (0, 0.25)]
        assert bare.last.body == {"query": "q", "texts": ["cc"], "truncate": False, "raw_scores": False}
        assert asyncio.run(backend.arerank("q", ["aaaa", "b", "cc"], top_n=1))[0].index == 1
        assert backend.capabilities.tasks == {"embed", "rerank"}


def test_what_such_a_server_is_for_is_asked(bare: ScriptedServer, load: Any) -> None:
    tei(bare, model_type={"reranker": {"id2label": {"0": "LABEL_0"}}})
    backend = load("m-1", api_base=bare.url, embedding_api="tei")
    with pytest.raises(UnsupportedError, match="rerank"):
        backend.embed("x")
    with pytest.raises(UnsupportedError):
        backend.generate("x")
    tei(bare, model_type={"embedding": {"pooling": "cls"}})
    assert load("m-1", api_base=bare.url, embedding_api="tei").capabilities.tasks == {"embed"}
    with pytest.raises(ModelNotFoundError, match="org/m-1"):
        load("another", api_base=bare.url, embedding_api="tei")
    bare.on("GET", "/info", json_reply({"no": "such server"}))
    with pytest.raises(ConnectionFailedError, match="no Text Embeddings Inference server"):
        load("m-1", api_base=bare.url, embedding_api="tei")
    assert load("m-1", api_base=bare.url, embedding_api="tei", check_model=False).texts_per_request == 32
