"""Embeddings and rankings, by the clients' own libraries and by their documented shapes."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import ollama
import openai
import pytest

from support.serving import Running, post


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_floats_and_base64_are_the_same_vectors(server: Running, client: openai.OpenAI) -> None:
    texts = ["one two", "three"]
    floats = client.embeddings.create(model="embed", input=texts, encoding_format="float")
    packed = client.embeddings.create(model="embed", input=texts)  # this client asks for base64 by itself
    assert [item.embedding for item in floats.data] == [pytest.approx(item.embedding) for item in packed.data]
    assert [item.index for item in floats.data] == [0, 1]
    assert floats.usage.prompt_tokens == floats.usage.total_tokens == 3
    told = json.loads(
        post(server, "/v1/embeddings", {"model": "embed", "input": texts, "encoding_format": "base64"})[2]
    )
    raw = base64.b64decode(told["data"][1]["embedding"])
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(floats.data[1].embedding)


def test_token_ids_and_dimensions(server: Running, client: openai.OpenAI) -> None:
    one = client.embeddings.create(model="embed", input=[7, 9], dimensions=8)
    both = client.embeddings.create(model="embed", input=[[7, 9], [3]], dimensions=8)
    assert len(one.data) == 1
    assert len(one.data[0].embedding) == 8
    assert both.data[0].embedding == one.data[0].embedding
    assert both.usage.prompt_tokens == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"input": []}, "input must be"),
        ({"input": {"a": 1}}, "input must be"),
        ({"input": ["a"] * 2049}, "2,049 texts"),
        ({"input": ["a", 5]}, "texts[1]"),
        ({"input": ["a", ""]}, "texts[1] is empty"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a " * 99}, "64"),
        ({"input": "a", "model": "echo"}, "embed"),
    ],
)
def test_mistakes(server: Running, wrong: dict[str, Any], said: str) -> None:
    status, _, told = post(server, "/v1/embeddings", {"model": "embed", **wrong})
    assert status == 400
    assert said in json.loads(told)["error"]["message"]


def test_ollama(server: Running) -> None:
    client = ollama.Client(server.url)
    one = client.embed("embed", "why not")
    assert len(one.embeddings) == 1
    assert one.prompt_eval_count == 2
    assert client.embed("embed", ["why not", "so"]).embeddings[0] == one.embeddings[0]
    assert list(client.embeddings("embed", "why not").embedding) == list(one.embeddings[0])
    long = "word " * 99
    with pytest.raises(ollama.ResponseError, match="64"):  # Ollama itself cuts it, and says nothing
        client.embed("embed", long)
    assert len(client.embed("embed", long, truncate=True).embeddings) == 1


def test_ranking(server: Running) -> None:
    ask = {"model": "rerank", "query": "a b", "documents": ["c d", {"text": "a b"}, "a"], "user_note": "x"}
    status, headers, told = post(server, "/v1/rerank", {**ask, "top_n": 2})
    assert (status, headers["llamaforge-ignored"]) == (200, "user_note")
    results = json.loads(told)["results"]
    assert [(each["index"], each["document"]["text"]) for each in results] == [(1, "a b"), (2, "a")]
    assert results[0]["relevance_score"] > results[1]["relevance_score"]
    cohere = json.loads(post(server, "/v2/rerank", ask)[2])
    assert [each["index"] for each in cohere["results"]] == [1, 2, 0]
    assert set(cohere["results"][0]) == {"index", "relevance_score"}
    assert cohere["meta"]["tokens"]["input_tokens"] == json.loads(told)["usage"]["total_tokens"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"documents": []}, "documents must hold"),
        ({"documents": [5]}, "documents[0]"),
        ({"query": None}, "query is missing"),
        ({"top_n": 0}, "top_n"),
        ({"model": "embed"}, "rerank"),
    ],
)
def test_mistaken_rankings(server: Running, wrong: dict[str, Any], said: str) -> None:
    ask = {"model": "rerank", "query": "a", "documents": ["b"], **wrong}
    status, _, told = post(server, "/v1/rerank", ask)
    assert status == 400
    assert said in json.loads(told)["error"]["message"]
