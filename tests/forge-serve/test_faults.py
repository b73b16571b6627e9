"""A proxy harms what a server behind ours says: clients get a typed error, never half an answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from forge_serve import ServeConfig
from llamaforge import LlamaForge
from support.fault_proxy import Fault, FaultProxy, cut, delayed, endless, in_pieces, instead, passing, reset, status
from support.serving import Running, body, post, running, until

CHAT, MESSAGES, OLLAMA = "/v1/chat/completions", "/v1/messages", "/api/chat"
ENDS = {CHAT: b"[DONE]", MESSAGES: b"message_stop", OLLAMA: b'"done":true'}
FAILURES = {CHAT: b'data: {"error":{', MESSAGES: b"event: error\ndata: ", OLLAMA: b'{"error":"'}
SECOND = b'" w'
"""In the sound answer, behind the whole first event of its text."""


@pytest.fixture
def proxy(server: Running) -> Iterator[FaultProxy]:
    """Before a sound server."""
    with FaultProxy(f"{server.url}/v1", passing) as proxy:
        yield proxy


@pytest.fixture
def front(proxy: FaultProxy, tmp_path: Path) -> Iterator[Running]:
    """Our server, whose model is behind the proxy."""
    sure = {"api_key": "sk-1", "api_base": proxy.url, "check_model": False, "max_retries": 0, "timeout": 60}
    with LlamaForge(tmp_path / "front.toml") as forge:
        forge.add_model("remote", "one", backend="openai", parameters=sure)
        with running(forge, ServeConfig()) as front:
            yield front


def ask(front: Running, path: str, stream: bool, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return post(front, path, body(model="remote", stream=stream), **headers)


BEFORE: dict[str, tuple[Fault, int]] = {
    "a reset": (reset(), 502),
    "an end": (cut(), 502),
    "a reset in the head": (reset(b"HTTP/1.1 2"), 502),
    "no HTTP": (instead(b"SSH-2.0-OpenSSH\r\n\r\n"), 502),
    "a page": (instead(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>"), 502),
    "500": (status(500), 502),
    "503": (status(503), 502),
    "401": (status(401), 502),
    "429": (status(429, Retry_After="7"), 429),
}
AMID: dict[str, Fault] = {"a reset": reset(SECOND), "an end": cut(SECOND)}


@pytest.mark.parametrize("fault", BEFORE)
@pytest.mark.parametrize("path", ENDS)
@pytest.mark.parametrize("stream", [False, True])
def test_faults_before_the_answer(front: Running, proxy: FaultProxy, path: str, stream: bool, fault: str) -> None:
    harm, wanted = BEFORE[fault]
    proxy.then([harm])
    got, headers, content = ask(front, path, stream)
    assert got == wanted, content
    assert json.loads(content)["error"]
    if wanted == 429:
        assert headers["retry-after"] == "7"
    proxy.then([passing])
    assert ask(front, path, stream)[0] == 200  # nothing is left of it


@pytest.mark.parametrize("fault", AMID)
@pytest.mark.parametrize("path", ENDS)
def test_faults_amid_an_answer(front: Running, proxy: FaultProxy, path: str, fault: str) -> None:
    proxy.then([AMID[fault]])
    got, _, content = ask(front, path, False)
    assert (got, bool(json.loads(content)["error"])) == (502, True)
    got, _, content = ask(front, path, True)
    assert got == 200
    assert b"Hello" in content
    assert FAILURES[path] in content
    assert ENDS[path] not in content.partition(FAILURES[path])[2]


@pytest.mark.parametrize("fault", [delayed(0.1), delayed(0.1, after=300), in_pieces(3)])
@pytest.mark.parametrize("path", ENDS)
def test_faults_that_pass(front: Running, proxy: FaultProxy, path: str, fault: Fault) -> None:
    proxy.then([fault])
    got, _, content = ask(front, path, True)
    assert (got, ENDS[path] in content, FAILURES[path] in content) == (200, True, False)


@pytest.mark.parametrize("path", ENDS)
def test_a_server_that_says_nothing_more(front: Running, proxy: FaultProxy, path: str) -> None:
    """The client's deadline ends it; nothing has begun in the one case, and something has in the other."""
    proxy.then([delayed(60)])
    assert ask(front, path, True, **{"x-request-timeout": "0.3"})[0] == 504
    proxy.then([endless(SECOND, b"")])
    got, _, content = ask(front, path, True, **{"x-request-timeout": "2"})
    assert got in (200, 504)  # on a busy machine the first word may be later than that
    assert got == 504 or FAILURES[path] in content


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_the_server_behind(front: Running, proxy: FaultProxy, stream: bool) -> None:
    proxy.then([endless(SECOND, b": \n\n")])
    parts = urlsplit(front.url)
    sent: Any = json.dumps(body(model="remote", stream=stream)).encode()
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as connection:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n\r\n"
        connection.sendall(head.encode() + sent)
        until(lambda: proxy.asked)
    assert proxy.left.wait(60)
    until(lambda: not front.residency.requests("remote"))
