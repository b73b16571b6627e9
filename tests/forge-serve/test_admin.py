"""Administration, and what is told of models."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from forge_serve.keys import Key
from llamaforge import LlamaForge
from support.serving import Running, Scripted, Serve, body, get, post, until


def card(server: Running, name: str) -> Any:
    return next(each for each in json.loads(get(server, "/admin/models")[1])["data"] if each["id"] == name)


def test_load_pin_unload(server: Running) -> None:
    status, _, told = post(server, "/admin/load", {"model": "one"})
    assert (status, json.loads(told)["state"]) == (200, "loaded")
    assert json.loads(post(server, "/admin/pin", {"model": "one"})[2])["pinned"]
    assert server.forge.loaded_models()[0].pinned
    assert server.forge.pool.unload_least_recent() is None
    assert not json.loads(post(server, "/admin/unpin", {"model": "one"})[2])["pinned"]
    for _ in range(2):  # it may be said twice
        assert json.loads(post(server, "/admin/unload", {"model": "one"})[2])["state"] == "unloaded"
    assert not server.forge.loaded_models()
    assert post(server, "/admin/load", {"model": "nobody"})[0] == 404
    assert post(server, "/admin/load", {"model": "/etc/passwd"})[0] == 404


def test_a_load_that_nobody_waits_for_tells_its_failure(server: Running) -> None:
    assert post(server, "/admin/load", {"model": "broken", "wait": False})[0] == 200
    until(lambda: card(server, "broken")["error"])
    assert "no such weights" in card(server, "broken")["error"]


def test_unloading_by_force_cancels(forge: LlamaForge, server: Running) -> None:
    forge.add_model("drowsy", "echo", backend="echo", parameters={"delay": 0.1})
    until(lambda: "drowsy" in server.residency.entries())
    answered: list[int] = []
    ask = body("word " * 500, model="drowsy", max_tokens=500)
    asking = threading.Thread(target=lambda: answered.append(post(server, "/v1/chat/completions", ask)[0]))
    asking.start()
    until(lambda: [model.requests for model in server.forge.loaded_models()] == [1])
    assert post(server, "/admin/unload", {"model": "drowsy", "force": True})[0] == 200
    asking.join(20)
    assert answered == [503]


@contextmanager
def events(server: Running) -> Iterator[Iterator[Any]]:
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=30)
    connection.request("GET", "/admin/events")
    answer = connection.getresponse()

    def read() -> Iterator[Any]:
        for line in answer:
            if line.startswith(b"data: "):
                yield {each["id"]: each for each in json.loads(line[6:])["data"]}

    try:
        yield read()
    finally:
        connection.close()


def test_events_tell_of_states_and_progress(server: Running) -> None:
    with events(server) as told:
        assert next(told)["slow"]["state"] == "unloaded"
        asking = threading.Thread(target=post, args=(server, "/admin/load", {"model": "slow"}))
        asking.start()
        assert any(each["slow"]["state"] == "loading" for each in told)
        report = server.forge.progress
        assert report is not None
        report(5, 10, "weights")  # from another thread, as a source may do it; one model is loading
        assert any(each["slow"]["progress"] == {"done": 5, "total": 10, "what": "weights"} for each in told)
        Scripted.gate.set()
        assert any(each["slow"]["state"] == "loaded" and each["slow"]["progress"] is None for each in told)
        asking.join(20)


def test_administration_needs_its_scope(serve: Serve) -> None:
    with serve(keys=(Key.of("user"), Key.of("boss", "admin"))) as server:
        for path in ("/admin/models", "/admin/events"):
            assert get(server, path, authorization="Bearer user")[0] == 403
            assert get(server, path)[0] == 401
        assert get(server, "/admin/models", authorization="Bearer boss")[0] == 200


def test_a_web_page_from_elsewhere_may_do_nothing(serve: Serve) -> None:
    with serve(cors_origins=("https://ours.example",)) as server:
        for origin, status in (
            ("https://evil.example", 403),
            ("null", 403),
            ("http://127.0.0.1:1", 403),
            ("https://ours.example", 200),
            (server.url, 200),
        ):
            assert post(server, "/admin/load", {"model": "one"}, origin=origin)[0] == status, origin


def test_models_tell_what_they_can(server: Running) -> None:
    told = {each["id"]: each for each in json.loads(get(server, "/v1/models")[1])["data"]}
    assert told["embed"]["capabilities"]["tasks"] == ["embed"]
    assert told["one"]["capabilities"]["tools"]
    assert told["echo"]["context_length"] == told["echo"]["max_model_len"] == 64
    assert (told["echo"]["backend"], told["echo"]["state"], told["echo"]["memory"]) == ("echo", "unloaded", None)
    assert told["smollm2-135m-instruct"]["backend"] == "llama.cpp"
    post(server, "/admin/load", {"model": "one"})
    one = json.loads(get(server, "/v1/models/one")[1])
    assert one["memory"] == {"total": 10, "host": 10, "devices": {}, "measured": True}


def test_parameters_as_a_schema(server: Running) -> None:
    told = json.loads(get(server, "/v1/parameters/echo")[1])
    properties = told["schema"]["$defs"]["Parameters"]["properties"]
    assert "max_tokens" in properties
    assert "raw" not in properties  # each dialect has its own way for that
    assert told["values"]["temperature"] == 1.0
    assert get(server, "/v1/parameters/nobody")[0] == 404
    loaded = json.loads(post(server, "/admin/schema", {"model": "echo"})[2])
    assert "n_ctx" in loaded["$defs"]["echo"]["properties"]


@pytest.mark.parametrize("path", ["/admin/load", "/admin/unload", "/admin/pin", "/admin/unpin", "/admin/schema"])
def test_mistakes(server: Running, path: str) -> None:
    assert post(server, path, {})[0] == 400
    assert post(server, path, b"{")[0] == 400
    assert post(server, path, {"model": "nobody"})[0] == 404


def test_progress_goes_on_to_whoever_asked_before(tmp_path: Any) -> None:
    from forge_serve import create_app

    heard: list[tuple[int, int | None, str]] = []
    with LlamaForge(tmp_path / "m.toml", progress=lambda *said: heard.append(said)) as forge:
        create_app(forge)
        assert forge.progress is not None
        forge.progress(1, None, "a file")
    assert heard == [(1, None, "a file")]
