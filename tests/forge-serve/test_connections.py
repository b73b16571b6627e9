"""Connections whose clients send or read slowly, or not at all; and too many of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import select
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from forge_serve import connections
from forge_serve.errors import Problem
from forge_serve.exchange import Exchange
from support.serving import Running, Scripted, Serve, body, until

CHAT = "/v1/chat/completions"
KINDS = {
    CHAT: lambda told: told["error"]["type"] == "timeout_error",
    "/v1/messages": lambda told: told["type"] == "error" and told["error"]["type"] == "timeout_error",
    "/api/chat": lambda told: isinstance(told["error"], str),
}


def connect(server: Running) -> socket.socket:
    parts = urlsplit(server.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60)


def request(path: str, content: object = None, **headers: object) -> bytes:
    """A request's bytes; with *content* a POST."""
    sent = b"" if content is None else json.dumps(content).encode()
    told = {"Host": "localhost"} | ({"Content_Length": len(sent)} if content is not None else {}) | headers
    method = "GET" if content is None else "POST"
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in told.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + sent


def rest(connection: socket.socket) -> bytes:
    """What still comes until the server ends the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def answered(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer with a length: status, headers and body."""
    head, _, content = until_there(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(content) < int(headers["content-length"]):
        content += connection.recv(int(headers["content-length"]) - len(content))
    return int(first.split()[1]), headers, content


def until_there(connection: socket.socket, wanted: bytes) -> bytes:
    """What comes until *wanted* is in it; byte for byte, so that nothing of the next answer is taken."""
    told = b""
    while wanted not in told:
        part = connection.recv(1)
        assert part, told
        told += part
    return told


@pytest.mark.parametrize("path", KINDS)
def test_headers_that_never_end(serve: Serve, path: str) -> None:
    with serve(read_timeout=0.2) as server, connect(server) as connection:
        connection.sendall(f"POST {path}?a=b HTTP/1.1\r\nHost: localhost\r\nX-Lo".encode())
        status, headers, content = answered(connection)
        assert (status, headers["connection"], rest(connection)) == (408, "close", b"")
        assert KINDS[path](json.loads(content))
        assert b"--read-timeout" in content


@pytest.mark.parametrize("path", KINDS)
def test_a_body_that_never_ends(serve: Serve, path: str) -> None:
    with serve(read_timeout=0.2) as server, connect(server) as connection:
        connection.sendall(request(path, body())[:-5])
        status, headers, content = answered(connection)
        assert (status, headers["connection"], rest(connection)) == (408, "close", b"")
        assert KINDS[path](json.loads(content))


@pytest.mark.parametrize("begun", [b"POST ", request(CHAT, Content_Length=10**6).replace(b"GET", b"POST")])
def test_a_byte_now_and_then_is_not_enough(serve: Serve, begun: bytes) -> None:
    with serve(read_timeout=0.2) as server, connect(server) as connection:
        connection.sendall(begun)
        while not select.select([connection], [], [], 0.02)[0]:
            connection.sendall(b"a")
        assert answered(connection)[0] == 408


def test_a_body_that_keeps_coming_has_longer() -> None:
    """Its first 100 kB come at once, which gives it ten seconds more than the tenth of one that a body has."""

    async def read(first: bytes) -> bytes:
        parts = iter((first, b"rest"))

        async def receive() -> dict[str, Any]:
            part = next(parts)
            if part == b"rest":
                await asyncio.sleep(0.3)
            return {"type": "http.request", "body": part, "more_body": part != b"rest"}

        scope = {"type": "http", "headers": []}
        return await Exchange(scope, receive, receive, 10**6, 0.1).body()  # type: ignore[arg-type]

    assert len(asyncio.run(read(bytes(100_000)))) == 100_004
    with pytest.raises(Problem, match="1 bytes of it came"):
        asyncio.run(read(b"1"))


def test_idle_connections_end(serve: Serve) -> None:
    with serve(keep_alive_timeout=0.2) as server, connect(server) as fresh, connect(server) as used:
        used.sendall(request("/health"))
        assert answered(used)[0] == 200
        for connection in (used, fresh):
            with contextlib.suppress(ConnectionError):  # what is sent to a connection that has just ended resets it
                while not select.select([connection], [], [], 0.02)[0]:
                    connection.sendall(b"\r\n")  # which begins no request
                assert connection.recv(1) == b""


def test_a_body_that_nobody_reads_is_not_waited_for_either(serve: Serve) -> None:
    with serve(read_timeout=0.2) as server, connect(server) as connection:
        connection.sendall(request("/v1/nothing", body(), Content_Length=10**6))
        assert answered(connection)[0] == 404  # at once
        while not select.select([connection], [], [], 0.02)[0]:
            connection.sendall(b"a")
        assert connection.recv(1) == b""


def test_a_client_that_reads_nothing(serve: Serve) -> None:
    with serve(write_timeout=0.2) as server, connect(server) as connection:
        connection.sendall(request(CHAT, body("flood", stream=True)))
        assert Scripted.cancelled.wait(60)
        until(lambda: server.forge.loaded_models()[0].leases == 0)


def test_one_that_reads_slowly_gets_everything(serve: Serve) -> None:
    with serve(write_timeout=30) as server, connect(server) as connection:
        connection.sendall(request(CHAT, body("flood", stream=True)))
        assert Scripted.begun.wait(60)
        for _ in range(200):
            assert connection.recv(65536)
        assert not Scripted.cancelled.is_set()


def test_no_limit_ends_an_answer(serve: Serve) -> None:
    """However long it takes, and although nothing comes from its client."""
    with serve(read_timeout=0.1, write_timeout=0.1, keep_alive_timeout=0.1) as server, connect(server) as connection:
        connection.sendall(request(CHAT, body(model="slow")))
        until(lambda: server.residency.requests("slow"))
        with connect(server) as other:
            assert rest(other) == b""  # time has passed: this one came later, and its time is over
        Scripted.gate.set()
        assert answered(connection)[0] == 200


def test_idle_connections_make_room_for_others(serve: Serve) -> None:
    with serve(max_connections=3) as server, connect(server) as busy, connect(server) as old, connect(server) as idle:
        busy.sendall(request(CHAT, body("wait", stream=True)))
        until_there(busy, b"begun")
        for connection in (old, idle):
            connection.sendall(request("/health"))
            assert answered(connection)[0] == 200
        with connect(server) as another:
            another.sendall(request("/health"))
            assert answered(another)[0] == 200
            assert old.recv(1) == b""
            idle.sendall(request("/health"))
            assert answered(idle)[0] == 200
        assert not Scripted.cancelled.is_set()


@pytest.mark.parametrize(("path", "kind"), [(CHAT, "rate_limit_error"), ("/v1/messages", "overloaded_error")])
def test_too_many_connections(serve: Serve, path: str, kind: str) -> None:
    with serve(max_connections=1) as server, connect(server) as busy:
        busy.sendall(request(CHAT, body("wait", stream=True)))
        until_there(busy, b"begun")
        with connect(server) as another:
            another.sendall(request(path, body()))
            status, headers, content = answered(another)
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert json.loads(content)["error"]["type"] == kind
            assert b"--max-connections" in content


def test_far_too_many_are_cut_off(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_REFUSING", 0)
    with serve(max_connections=1) as server, connect(server) as busy:
        busy.sendall(request(CHAT, body("wait", stream=True)))
        until_there(busy, b"begun")
        with connect(server) as another, contextlib.suppress(ConnectionResetError):
            assert another.recv(1) == b""


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"GET /\xff\r\n\r\n"])
def test_what_is_no_request_gets_an_error_that_clients_read(server: Running, sent: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(sent)
        status, headers, content = answered(connection)
        assert (status, headers["content-type"]) == (400, "application/json")
        assert "not a request of HTTP/1.1" in json.loads(content)["error"]["message"]


def test_requests_in_one_piece_are_answered_in_turn(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(request(CHAT, body()) + request("/health") + request("/api/nothing", {}))
        assert [answered(connection)[0] for _ in range(3)] == [200, 200, 404]


@pytest.mark.parametrize("offered", ["h2c", "websocket"])
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_other_protocols_are_declined(server: Running, offered: str, size: int) -> None:
    """Some clients offer HTTP/2 with each request, such as Java's; what they ask is answered all the same."""
    more = {"Connection": "Upgrade", "Upgrade": offered}
    content = json.dumps(body()).encode()
    chunked = request(CHAT, Transfer_Encoding="chunked", **more).replace(b"GET", b"POST", 1)
    sent = request(CHAT, body(), **more) + chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    sent += request("/health", **more) * 2 + request(CHAT, body()) + request(CHAT, **more)
    with connect(server) as connection:
        for place in range(0, len(sent), size):
            connection.sendall(sent[place : place + size])
        assert [answered(connection)[0] for _ in range(6)] == [200, 200, 200, 200, 200, 405]


def test_many_offers_in_one_piece(server: Running) -> None:
    with connect(server) as connection:
        connection.sendall(request("/health", Connection="Upgrade", Upgrade="a") * 2000)
        assert {answered(connection)[0] for _ in range(2000)} == {200}


@pytest.mark.parametrize(
    ("soft", "hard", "possible"), [(1024, 10**6, 4096), (1024, 1024, 704), (10, 10, 1), (-1, -1, 4096), (99, -1, 4096)]
)
def test_connections_need_files(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, possible: int) -> None:
    limits = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.__setitem__(slice(None), wanted))
    assert connections.connections_possible(4096) == possible
