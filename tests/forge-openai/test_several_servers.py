"""Several servers with one model: the least busy one is asked, and where one fails, the next."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forge_openai import OpenAIBackend
from forge_openai.wire import retries
from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    GenerationTimeoutError,
    InvalidParameterError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
)
from support.scripted import Reply, ScriptedServer, delta, error_reply, event, json_reply, models_reply, stream_of
from support.scripted import stream_reply as stream

LATER = 30.0

Open = Callable[..., OpenAIBackend]


@pytest.fixture
def servers() -> Iterator[list[ScriptedServer]]:
    """Three, of which each answers with its own name."""
    opened = [ScriptedServer() for _ in range(3)]
    for name, server in zip("abc", opened, strict=True):
        server.on("GET", "/models", models_reply("m-1"))
        server.chat(stream(delta(name), delta(finish_reason="stop")))
        server.__enter__()
    yield opened
    for server in opened:
        server.__exit__()


@pytest.fixture
def load(servers: list[ScriptedServer]) -> Iterator[Open]:
    loaded: list[OpenAIBackend] = []

    def load(*addresses: str, **parameters: Any) -> OpenAIBackend:
        backend = OpenAIBackend()
        loaded.append(backend)
        bases = list(addresses) or [server.url for server in servers]
        backend.load_model("m-1", {"api_key": "sk-1", "api_base": bases, "max_retries": 0, **parameters})
        return backend

    yield load
    for backend in loaded:
        backend.close()


def nobody() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


def counts(servers: list[ScriptedServer]) -> list[int]:
    return [len(server.posted()) for server in servers]


def test_the_least_busy_one_is_asked(servers: list[ScriptedServer], load: Open) -> None:
    for server in servers:
        server.chat(lambda _, server=server: stream_of(itertools.chain([event(delta("x"))], server.hang())))
    backend = load()
    streams = []
    for number in range(6):
        streams.append(backend.generate_stream("Hi"))
        next(streams[-1])
        assert sorted(counts(servers)) == sorted([(number + 3) // 3, (number + 2) // 3, (number + 1) // 3])
    streams[1].close()
    streams[4].close()
    again = backend.generate_stream("Hi")
    next(again)
    assert counts(servers) == [2, 3, 2], "the one that two were closed at"
    for each in [*streams, again]:
        each.close()


async def test_in_event_loops_too(servers: list[ScriptedServer], load: Open) -> None:
    backend = load()
    answers = await asyncio.gather(*[backend.agenerate("Hi") for _ in range(6)])
    assert sorted(answers) == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.parametrize(
    "failure",
    [
        error_reply(500),
        error_reply(503),
        json_reply({}, 429, retry_after="60"),
        json_reply({}, 429, retry_after="9999"),
    ],
    ids=["500", "503", "429", "429 for hours"],
)
def test_where_one_fails_the_next_is_asked_at_once(failure: Reply, servers: list[ScriptedServer], load: Open) -> None:
    servers[0].chat(failure)
    backend = load()
    assert backend.generate("Hi", timeout=LATER / 2) == "b"
    assert counts(servers) == [1, 1, 0]
    assert asyncio.run(backend.agenerate("Hi")) in ("b", "c")
    assert counts(servers)[0] == 1, "it rests for as long as it asked to, or for a pause of ours"


def test_a_server_that_is_gone(servers: list[ScriptedServer], load: Open) -> None:
    backend = load(nobody(), servers[1].url)
    assert backend.generate("Hi") == "b"
    assert asyncio.run(backend.agenerate("Hi")) == "b"


def test_each_may_be_tried_again(servers: list[ScriptedServer], load: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.01)
    for server in servers:
        server.chat(error_reply(503))
    with pytest.raises(ServerError):
        load(max_retries=2).generate("Hi")
    assert counts(servers) == [3, 3, 3]


def test_the_pause_of_each_is_kept(servers: list[ScriptedServer], load: Open) -> None:
    servers[0].chat(json_reply({}, 429, retry_after="5"))
    servers[1].chat(json_reply({}, 429, retry_after="0.3"), stream(delta("b", "stop")))
    servers[2].chat(json_reply({}, 429, retry_after="6"))
    began = time.perf_counter()
    assert load(max_retries=1).generate("Hi") == "b"
    assert time.perf_counter() - began >= 0.3
    assert counts(servers) == [1, 2, 1]


def test_one_deadline_for_all_of_them(servers: list[ScriptedServer], load: Open) -> None:
    servers[0].chat(json_reply({}, 429, retry_after="60"))
    servers[1].chat(lambda _: Reply(head=servers[1].hang()))
    with pytest.raises(GenerationTimeoutError):
        load().generate("Hi", timeout=0.4)
    assert counts(servers) == [1, 1, 0]
    for server in servers:
        server.chat(json_reply({}, 429, retry_after="60"))
    with pytest.raises(RateLimitError):
        load(max_retries=5).generate("Hi", timeout=1)


@pytest.mark.parametrize("status", [400, 401, 404])
def test_what_another_server_would_not_mend(status: int, servers: list[ScriptedServer], load: Open) -> None:
    servers[0].chat(error_reply(status))
    with pytest.raises((ServerError, AuthenticationError)):
        load().generate("Hi")
    assert counts(servers) == [1, 0, 0]


def test_never_another_one_after_the_first_event(servers: list[ScriptedServer], load: Open) -> None:
    servers[0].chat(stream_of([event(delta("Hel"))]))
    with pytest.raises(ConnectionFailedError):
        load(max_retries=3).generate("Hi")
    assert counts(servers) == [1, 0, 0]


def test_at_load_one_may_be_down(servers: list[ScriptedServer], load: Open) -> None:
    servers[1].on("GET", "/models", error_reply(503))
    assert load(nobody(), servers[1].url, servers[2].url).is_model_loaded()
    servers[2].on("GET", "/models", error_reply(503))
    with pytest.raises(ConnectionFailedError):
        load(nobody(), servers[1].url, servers[2].url)


@pytest.mark.parametrize(
    ("reply", "kind"), [(error_reply(401), AuthenticationError), (models_reply("m-2"), ModelNotFoundError)]
)
def test_at_load_no_one_may_be_wrong(
    reply: Reply, kind: type[Exception], servers: list[ScriptedServer], load: Open
) -> None:
    servers[2].on("GET", "/models", reply)
    servers[2].chat(reply)
    with pytest.raises(kind) as caught:
        load()
    assert servers[2].url in str(caught.value)


@pytest.mark.parametrize(
    "bases", [[], ["http://a/v1", "http://a/v1/"], ["http://a/v1", "b"], ["http://a/v1", "http://me:canary@b/v1"], 3]
)
def test_what_is_no_list_of_addresses(bases: Any) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        OpenAIBackend().load_model("m-1", {"api_key": "sk-1", "api_base": bases})
    assert caught.value.name.startswith("api_base")
    assert "canary" not in str(caught.value)
