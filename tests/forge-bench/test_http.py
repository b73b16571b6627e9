"""Our HTTP client, against servers that behave and misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from forge_bench.records import Call, Record
from forge_bench.targets.http import Client
from forge_bench.targets.server import ServerSettings, ServerTarget, with_version
from llamaforge.errors import InvalidParameterError, LlamaForgeError

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


ANSWER = event("a") + event("b") + b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, Any]]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    body = await reader.readexactly(length)
    return head, json.loads(body) if body else {}


def ask(handle: Handle, *, times: int = 1, call: Call | None = None, **settings: Any) -> list[Record]:
    """What becomes of some requests, one after another, over the same client."""

    async def main() -> list[Record]:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target = ServerTarget(ServerSettings(url=f"http://127.0.0.1:{port}/v1", model="m", **settings))
        records = [Record(index=index) for index in range(times)]
        for record in records:
            await target.send(call or Call(prompt="Hello"), record)
        await target.close()
        server.close()
        return records

    return asyncio.run(main())


def answering(data: bytes, *, close: bool = True) -> Handle:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return handle


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + framed(ANSWER) + b"0\r\n\r\n",
        CHUNKED + b"".join(framed(ANSWER[at : at + 1]) for at in range(len(ANSWER))) + b"0\r\n\r\n",
        HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER),
        HEAD + b"Connection: close\r\n\r\n" + ANSWER,
    ],
    ids=["chunked", "byte by byte", "with a length", "until it closes"],
)
def test_every_framing(data: bytes) -> None:
    (record,) = ask(answering(data))
    assert record.error is None
    assert len(record.chunk_times) == 2
    assert record.sent is not None and record.end is not None  # noqa: PT018
    assert record.sent <= record.chunk_times[0] <= record.chunk_times[1] <= record.end


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (CHUNKED + framed(event("a")), "closed the connection"),
        (CHUNKED + framed(event("a")) + b"0\r\n\r\n", "ended before the answer did"),
        (HEAD + b"Connection: close\r\n\r\n" + event("a"), "ended before the answer did"),
        (CHUNKED + framed(b'data: {"error":{"message":"overloaded"}}\n\n') + b"0\r\n\r\n", "overloaded"),
        (b'HTTP/1.1 429 X\r\nContent-Length: 31\r\n\r\n{"error": {"message": "later!"}}', "HTTP 429: later!"),
        (b"HTTP/1.1 502 X\r\nContent-Length: 9\r\n\r\n<bad way>", "HTTP 502: <bad way>"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (b"", "closed the connection"),
    ],
)
def test_failures_are_said_in_the_record(data: bytes, message: str) -> None:
    if b"later!" in data:
        data = data.replace(b"31", b"32")
    (record,) = ask(answering(data))
    assert message in (record.error or ""), record.error
    assert record.end is not None
    assert not record.succeeded


def test_a_slow_answer_is_given_up() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client leaves
        writer.close()

    (record,) = ask(handle, timeout=0.05)
    assert "timeout: no complete answer in 0.05 seconds" in (record.error or "")


def test_connections_are_kept_and_a_stale_one_costs_nothing() -> None:
    connections = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        for _ in range(2):  # the third request on this connection finds it closed
            await read_request(reader)
            writer.write(CHUNKED + framed(ANSWER) + b"0\r\n\r\n")
            await writer.drain()
        writer.close()

    records = ask(handle, times=5)
    assert [record.error for record in records] == [None] * 5
    assert len(connections) == 3


def test_what_is_sent() -> None:
    seen: list[tuple[bytes, dict[str, Any]]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(HEAD + b"Connection: close\r\n\r\n" + ANSWER)
        writer.close()

    parameters = {"temperature": 0.5, "engine": {"own": 1}, "timeout": 3.0}
    call = Call(prompt="Hi", max_tokens=5, exact_length=True, parameters=parameters)
    ask(handle, call=call, headers={"Authorization": "Bearer k"}, body={"extra": 2}, continuous_usage=True)
    ask(handle, call=Call(prompt="Hi", raw=True), ignore_eos=False)
    head, body = seen[0]
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer k\r\n" in head
    assert body == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 5,
        "ignore_eos": True,
        "temperature": 0.5,
        "own": 1,
        "extra": 2,
    }
    head, body = seen[1]
    assert head.startswith(b"POST /v1/completions ")
    assert (body["prompt"], "messages" in body) == ("Hi", False)


def test_a_key_that_a_server_repeats_is_masked() -> None:
    body = b"wrong key: sk-very-secret"
    data = b"HTTP/1.1 401 X\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    (record,) = ask(answering(data), headers={"Authorization": "Bearer sk-very-secret"})
    assert record.error == "HTTP 401: wrong key: ***"


@pytest.mark.parametrize(
    ("models", "message"), [(["a", "b"], "It has a, b"), ([], "lists none"), (None, "can't be read")]
)
def test_the_model_must_be_known(models: list[str] | None, message: str) -> None:
    body = b"nonsense" if models is None else json.dumps({"data": [{"id": name} for name in models]}).encode()
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    async def main() -> None:
        server = await asyncio.start_server(answering(data), "127.0.0.1", 0)
        target = ServerTarget(ServerSettings(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"))
        try:
            await target.open()
        finally:
            await target.close()
            server.close()

    with pytest.raises(LlamaForgeError, match=message):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("http://h:1", "http://h:1/v1"),
        ("http://h:1/", "http://h:1/v1"),
        ("https://h/api/v3/", "https://h/api/v3"),
    ],
)
def test_addresses(given: str, made: str) -> None:
    assert with_version(given) == made


@pytest.mark.parametrize("url", ["http://key@h", "http://h/v1?key=1", "ftp://h", "http:///v1", "http://h:port"])
def test_what_is_no_address_is_not_shown(url: str) -> None:
    with pytest.raises(InvalidParameterError, match="an address such as") as caught:
        Client(url)
    assert url not in str(caught.value)


def test_a_header_is_one_line() -> None:
    with pytest.raises(InvalidParameterError, match="in one line"):
        Client("http://h", {"X": "a\r\nY: b"})
