"""Tokens and templates of a real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from forge_serve import ServeConfig
from llamaforge import LlamaForge
from llamaforge.backends.registry import register_backend
from support.serving import Running, Scripted, body, post, running

TURNS: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello wörld <|im_end|>"}]


@pytest.fixture(scope="module")
def server(gguf_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    register_backend("scripted", Scripted, replace=True)
    with LlamaForge(tmp_path_factory.mktemp("tokens") / "models.toml") as forge:
        forge.add_model("real", gguf_model, backend="llama.cpp", parameters={"n_ctx": 256})
        forge.add_model("echo", "echo", backend="echo")
        forge.add_model("one", "one", backend="scripted")
        with running(forge, ServeConfig()) as server:
            yield server


def told(server: Running, path: str, **content: Any) -> Any:
    status, _, answer = post(server, path, {"model": "real", **content})
    assert status == 200, answer
    return json.loads(answer)


def test_tokens_and_back(server: Running) -> None:
    plain = told(server, "/tokenize", prompt="Hello wörld")
    assert plain["count"] == len(plain["tokens"]) > 0
    assert plain["max_model_len"] == 256
    assert told(server, "/tokenize", content="Hello wörld")["tokens"] == plain["tokens"]
    assert told(server, "/detokenize", tokens=plain["tokens"])["content"].strip() == "Hello wörld"
    pieces = told(server, "/tokenize", content="Hello wörld", with_pieces=True)["tokens"]
    assert [each["id"] for each in pieces] == plain["tokens"]
    assert len(told(server, "/tokenize", prompt="Hello wörld", return_token_strs=True)["token_strs"]) == plain["count"]
    assert told(server, "/tokenize", prompt="")["tokens"] == []


def test_the_template_is_what_the_model_reads(server: Running) -> None:
    text = told(server, "/apply-template", messages=TURNS)["prompt"]
    assert "Hello wörld" in text
    backend = server.forge.backend("real")
    assert text == backend.render(messages=TURNS)
    counted = told(server, "/tokenize", messages=TURNS)["count"]
    answered = told(server, "/v1/chat/completions", messages=TURNS, max_tokens=1)
    assert answered["usage"]["prompt_tokens"] == counted


def test_anthropic_counts(server: Running) -> None:
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    count = client.messages.count_tokens(model="real", system="Be brief.", messages=TURNS[1:]).input_tokens
    answer = client.messages.create(model="real", max_tokens=1, system="Be brief.", messages=TURNS[1:])
    assert answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0) == count


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("/tokenize", {}, "missing"),
        ("/tokenize", {"prompt": 5}, "prompt must be"),
        ("/detokenize", {"tokens": ["a"]}, "tokens[0]"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [10**9]}, "vocabulary"),
        ("/apply-template", {"prompt": "a"}, "messages"),
        ("/detokenize", {"tokens": [1], "model": "echo"}, "detokenize"),
    ],
)
def test_mistakes(server: Running, path: str, content: dict[str, Any], said: str) -> None:
    status, _, answer = post(server, path, {"model": "real", **content})
    assert status == 400
    assert said in json.loads(answer)["error"]["message"]


def test_an_engine_that_tells_no_tokens_says_so(server: Running) -> None:
    status, _, answer = post(server, "/tokenize", body())
    assert status == 400
    assert "tokenize" in json.loads(answer)["error"]["message"]
