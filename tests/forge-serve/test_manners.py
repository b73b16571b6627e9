"""Disconnects, overload, residency, strangers, bad bodies."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_serve.config import ServeConfig
from forge_serve.errors import UNFORESEEN
from forge_serve.keys import Key, read_keys
from llamaforge import LlamaForge
from llamaforge.errors import InvalidParameterError
from support.serving import Running, Scripted, Serve, body, get, post, running, until

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/api/chat", "/api/generate")


def leave_after(server: Running, content: dict[str, Any], path: str, reached: Callable[[], object]) -> None:
    """Ask, wait for a state, and hang up."""
    parts = urlsplit(server.url)
    sent = json.dumps(content).encode()
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n\r\n"
        connection.sendall(head.encode() + sent)
        until(reached)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/api/chat"])
@pytest.mark.parametrize("said", ["wait", "think"])  # amid the answer, and before its first token
def test_a_client_that_leaves_frees_the_engine(server: Running, path: str, stream: bool, said: str) -> None:
    leave_after(server, body(said, stream=stream), path, Scripted.begun.is_set)
    assert Scripted.cancelled.wait(20)
    until(lambda: server.forge.loaded_models()[0].leases == 0)


def test_a_client_that_leaves_while_a_model_loads(server: Running) -> None:
    leave_after(server, body(model="slow"), PATHS[0], lambda: server.residency.requests("slow"))
    until(lambda: not server.residency.requests("slow"))
    Scripted.gate.set()
    until(lambda: [model.leases for model in server.forge.loaded_models() if model.state == "loaded"] == [0])
    assert not Scripted.asked


def test_others_answer_while_one_model_loads(server: Running) -> None:
    with ThreadPoolExecutor(4) as pool:
        loading = [pool.submit(post, server, PATHS[0], body(model="slow")) for _ in range(3)]
        until(lambda: any(model.state == "loading" for model in server.forge.loaded_models()))
        assert post(server, PATHS[0], body())[0] == 200
        Scripted.gate.set()
        assert [each.result()[0] for each in loading] == [200] * 3
    assert Scripted.loads.count("slow") == 1


def test_a_full_queue_says_when_to_come_again(serve: Serve) -> None:
    with serve(max_queue=1) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(leave_after, server, body("wait"), PATHS[0], Scripted.cancelled.is_set)
        assert Scripted.begun.wait(20)
        for path, key in (("/v1/chat/completions", "rate_limit_error"), ("/v1/messages", "overloaded_error")):
            status, headers, content = post(server, path, body())
            assert (status, headers["retry-after"]) == (429, "1")
            assert json.loads(content)["error"]["type"] == key
            assert "(--max-queue)" in json.loads(content)["error"]["message"]
        Scripted.cancelled.set()
        first.result()


def test_a_model_in_use_is_never_taken(tmp_path: Path, forge: LlamaForge) -> None:
    """A budget for one model: the second waits for the first's answers, and is loaded in its place."""
    with LlamaForge(tmp_path / "small.toml", memory_budget=15) as small:
        for name in ("one", "two"):
            small.add_model(name, name, backend="scripted")
        with running(small, ServeConfig(max_wait=20)) as server, ThreadPoolExecutor(8) as pool:
            asks = [body(model=name) for name in ("one", "two") * 20]
            answers = list(pool.map(lambda ask: post(server, PATHS[0], ask), asks))
    assert [status for status, _, _ in answers] == [200] * 40
    for ask, (_, _, content) in zip(asks, answers, strict=True):
        assert json.loads(content)["choices"][0]["message"]["content"] == f"Hello wörld {ask['model']}"


def test_a_model_that_stays_in_use_holds_the_others_up_for_a_while(tmp_path: Path, forge: LlamaForge) -> None:
    with LlamaForge(tmp_path / "small.toml", memory_budget=15) as small:
        for name in ("one", "two"):
            (tmp_path / name).write_bytes(bytes(10))  # the size of a file is known before it is loaded
            small.add_model(name, tmp_path / name, backend="scripted")
        with running(small, ServeConfig(max_wait=0.2)) as server, ThreadPoolExecutor(1) as pool:
            first = pool.submit(leave_after, server, body("wait"), PATHS[0], Scripted.cancelled.is_set)
            assert Scripted.begun.wait(20)
            status, headers, content = post(server, PATHS[0], body(model="two"))
            Scripted.cancelled.set()
            first.result()
    assert (status, headers["retry-after"]) == (503, "10"), content


def test_idle_models_are_unloaded(serve: Serve) -> None:
    with serve(idle=0.1) as server:
        assert post(server, PATHS[0], body())[0] == 200
        until(lambda: not server.forge.loaded_models())


def test_pinned_models_are_loaded_at_the_start(serve: Serve) -> None:
    with serve(pinned=frozenset({"one"})) as server:
        until(lambda: [model.name for model in server.forge.loaded_models() if model.state == "loaded"] == ["one"])
        assert server.forge.loaded_models()[0].pinned


def test_load_and_unload(server: Running) -> None:
    assert json.loads(post(server, "/admin/load", {"model": "one"})[2])["state"] == "loaded"
    assert json.loads(post(server, "/admin/unload", {"model": "one"})[2])["state"] == "unloaded"
    assert post(server, "/admin/load", {"model": "three"})[0] == 404
    assert post(server, "/admin/load", b"{")[0] == 400


def test_a_silent_stream_shows_that_it_lives(serve: Serve) -> None:
    with serve(ping=0.05) as server:
        threading.Timer(0.5, Scripted.gate.set).start()
        content = post(server, PATHS[0], body(model="slow", stream=True))[2]
        assert content.count(b": ping\n\n") >= 2
        assert content.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"])
def test_a_failure_after_a_sign_of_life_is_told(serve: Serve, forge: LlamaForge, path: str) -> None:
    """The stream has begun although nothing was generated: its model took its time, and then couldn't be loaded."""
    forge.add_model("late", "slow and broken", backend="scripted")
    said: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {"messages": body()["messages"]},
        "/v1/completions": {"prompt": "Hi"},
        "/v1/messages": {"messages": body()["messages"], "max_tokens": 9},
        "/v1/responses": {"input": "Hi"},
    }
    asked = {"model": "late", "stream": True, **said[path]}
    with serve(ping=0.05) as server:
        connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
        connection.request("POST", path, json.dumps(asked))
        answer = connection.getresponse()  # once the first sign of life has come
        Scripted.gate.set()
        told = answer.read()  # to the stream's own end: IncompleteRead otherwise
        connection.close()
    assert b"no such weights" in told
    assert b'"error"' in told or b"response.failed" in told


def test_a_deadline_from_a_header(server: Running) -> None:
    status, _, content = post(server, PATHS[0], body("think"), **{"x-request-timeout": "0.1"})
    assert status == 504, content
    assert post(server, PATHS[0], body(), **{"x-request-timeout": "soon"})[0] == 400


def test_keys(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\nsecret-one\nsha256:{Key.of('secret-two').sha256.hex()} admin\n")
    with serve(keys=read_keys(file)) as server:
        for headers, status in (
            ({}, 401),
            ({"authorization": "Bearer wrong"}, 401),
            ({"authorization": "Bearer secret-one"}, 200),
            ({"x-api-key": "secret-two"}, 200),
        ):
            assert post(server, PATHS[0], body(), **headers)[0] == status
        assert post(server, "/admin/load", {"model": "one"}, authorization="Bearer secret-one")[0] == 403
        assert post(server, "/admin/load", {"model": "one"}, authorization="Bearer secret-two")[0] == 200
        assert get(server, "/health")[0] == 200
        assert get(server, "/metrics")[0] == 401
        assert b"secret" not in repr(read_keys(file)).encode()


@pytest.mark.parametrize("text", ["", "# none\n", "key nobody\n", "sha256:12\n"])
def test_a_key_file_with_a_mistake(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(InvalidParameterError, match="key"):
        read_keys(file)


def test_keys_may_have_a_number_sign(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("\ufeffone#two admin # ours\nthree\t# theirs\n", "utf-8")
    assert read_keys(file) == (Key.of("one#two", "admin"), Key.of("three"))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidParameterError, match="UTF-8"):
        read_keys(file)


def test_other_names_are_refused(server: Running) -> None:
    assert get(server, "/v1/models", host="evil.example")[0] == 403
    assert get(server, "/v1/models", host="localhost:99")[0] == 200
    assert get(server, "/v1/models", host="[::1]:99")[0] == 200


def test_no_other_origin_may_read(serve: Serve) -> None:
    with serve(cors_origins=("https://ours.example",)) as server:
        headers = post(server, PATHS[0], body(), origin="https://ours.example")[1]
        assert headers["access-control-allow-origin"] == "https://ours.example"
        assert "llamaforge-ignored" in headers["access-control-expose-headers"]
        for evil in ("https://evil.example", "null", "http://[", "//", ""):
            status, headers, _ = post(server, PATHS[0], body(), origin=evil)
            assert (status, "access-control-allow-origin" in headers) == (403, False), evil


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b"\xff\xfe", 400),
        (b'{"model": "one", "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
        (b'{"model": "one", "pad": "' + b"x" * 3000 + b'"}', 413),
        (b'{"model": 5, "messages": [], "max_tokens": 5, "prompt": "a"}', 400),
        (b'{"model": "one", "deep": [' + b'"",' * 100_000 + b'""]}', 400),
    ],
)
def test_bad_bodies(serve: Serve, path: str, content: bytes, status: int) -> None:
    with serve(max_body=400_000 if b"deep" in content else 2_000) as server:
        got, headers, told = post(server, path, content)
        assert got == status
        assert headers["content-type"] == "application/json"
        assert "error" in json.loads(told)


def test_a_list_that_begins_with_a_number_is_counted_too(server: Running) -> None:
    """Lists of tokens alone aren't: they may be long."""
    for item in (b"{}", b"[0]", b'""', b"true"):
        content = b'{"model": "one", "prompt": [0' + b"," + b",".join([item] * 100_000) + b"]}"
        status, _, told = post(server, "/v1/completions", content)
        assert status == 400
        assert b"holds too much" in told
    status, _, told = post(server, "/v1/completions", b'{"model": "one", "prompt": [0' + b",7" * 150_000 + b"]}")
    assert b"lists of tokens aren't served" in told


@pytest.mark.parametrize("path", PATHS)
def test_long_names_are_not_told_in_full(server: Running, path: str) -> None:
    status, _, told = post(server, path, body(prompt="Hi") | {"model": "m" * 1_000_000})
    assert status == 404
    assert len(told) < 10_000
    assert b"There is no model" in told
    assert b"Known models" in told
    _, headers, _ = post(server, path, body(prompt="Hi") | {"f" * 1_000_000: 1})
    assert "f" * 64 in headers["llamaforge-ignored"].split(", ")


def test_paths_that_are_not_there(server: Running) -> None:
    assert json.loads(post(server, "/v1/nothing", {})[2])["error"]["message"] == "There is nothing at /v1/nothing."
    assert json.loads(post(server, "/api/nothing", {})[2]) == {"error": "There is nothing at /api/nothing."}
    assert json.loads(post(server, "/v1/messages/batches", {})[2])["error"]["type"] == "not_found_error"
    assert get(server, "/v1/chat/completions")[0] == 405
    status, headers, _ = post(server, "/v1/models", {})
    assert (status, sorted(headers["allow"].split(", "))) == (405, ["GET", "HEAD"])


@pytest.mark.parametrize("path", ["/api/ps", "/v1/models"])
def test_what_nobody_foresaw_is_told_as_an_error(server: Running, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("forge_serve.cards.Cards.loaded", fails)
    status, told = get(server, path)
    error = json.loads(told)["error"]
    assert (status, error if path.startswith("/api/") else error["message"]) == (500, UNFORESEEN)


@pytest.mark.parametrize("path", ["/api/tags", "/v1/models", "/v1/chat/completions"])
def test_a_broken_file_of_models_is_told(server: Running, forge: LlamaForge, tmp_path: Path, path: str) -> None:
    (tmp_path / "models.toml").write_text("[x\n")
    status, told = post(server, path, body())[::2] if "chat" in path else get(server, path)
    assert status == 503
    assert "models.toml, line 1: it is not valid TOML" in str(json.loads(told)["error"])


def test_events_have_a_head(server: Running) -> None:
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    connection.request("HEAD", "/admin/events")
    connection.getresponse().read()
    connection.request("GET", "/health")  # the same connection is free again
    assert connection.getresponse().status == 200
    connection.close()


def test_errors_name_the_field_and_advise_clients(server: Running) -> None:
    status, _, told = post(server, PATHS[0], body(model="echo", reasoning_effort="low"))
    error = json.loads(told)["error"]
    assert (status, error["param"], error["message"][-13:]) == (400, "reasoning_effort", "Leave it out.")
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "odd"}}}
    assert json.loads(post(server, PATHS[0], body(response_format=schema))[2])["error"]["param"] == "response_format"


def test_bodies_say_what_is_wrong_with_them(server: Running) -> None:
    half = json.dumps(body("\ud83d")).encode()
    assert "half of a surrogate pair" in json.loads(post(server, PATHS[0], half)[2])["error"]["message"]
    status, _, told = post(server, PATHS[0], gzip.compress(b"{}"), **{"content-encoding": "gzip"})
    assert (status, "without compression" in json.loads(told)["error"]["message"]) == (415, True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wrong", [{"chat_template_kwargs": 1.5}, {"messages": [{"role": "user", "content": "fail"}]}])
def test_several_answers_fail_as_one_does(server: Running, stream: bool, wrong: dict[str, Any]) -> None:
    told = [post(server, PATHS[0], body(n=count, stream=stream) | wrong) for count in (1, 3)]
    assert told[0][0] == told[1][0]
    if not stream:
        assert json.loads(told[0][2])["error"] == json.loads(told[1][2])["error"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    *("messages", "prompt", "system", "tools", "tool_choice", "stop", "stop_sequences", "options", "n"),
    *("temperature", "max_tokens", "stream_options", "thinking", "logprobs", "logit_bias", "seed", "grammar"),
    "what\nis this: \x00ü",
)


@settings(max_examples=60)
@given(fields=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5), turn=JSON)
def test_no_body_is_too_odd(fuzzed: Running, fields: dict[str, Any], turn: Any) -> None:
    for path in PATHS:
        for messages in ({}, {"messages": [turn]}):
            asked = {"model": "one", **fields, **messages, "stream": False}
            status, _, told = post(fuzzed, path, asked)
            assert status in (200, 400), (asked, told)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One server for all examples."""
    from llamaforge.backends.registry import register_backend

    register_backend("scripted", Scripted, replace=True)
    with LlamaForge(tmp_path_factory.mktemp("fuzzed") / "models.toml") as forge:
        forge.add_model("one", "one", backend="scripted")
        with running(forge, ServeConfig()) as server:
            yield server
