"""Vectors and rankings over HTTP, from a scripted server through the real SDK."""

from __future__ import annotations

import asyncio
import base64
import json
from array import array
from typing import Any

import pytest

from llamaforge.errors import ServerError, UnsupportedError
from llamaforge.results import Usage
from support.scripted import Received, Reply, ScriptedServer, json_reply


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
