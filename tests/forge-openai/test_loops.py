"""In event loops: no threads, connections of their own, and every way out of a wait."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forge_openai import OpenAIBackend
from forge_openai.wire.aio import bind_to_loop
from forge_openai.wire.server_client import ServerClient
from llamaforge.errors import ConnectionFailedError, GenerationTimeoutError
from support.scripted import Reply, ScriptedServer, delta, event, json_reply, models_reply, stream_of, stream_reply

Load = Callable[..., OpenAIBackend]

SOON, LATER = 0.4, 30.0
TLS = Path(__file__).parent / "tls"


def server_of(backend: OpenAIBackend) -> ServerClient:
    assert backend._session is not None
    return backend._session.servers[0]


def endless(*_: object) -> Iterator[bytes]:
    while True:
        yield event(delta("more "))


def counting(count: int) -> Reply:
    return stream_reply(*[delta(f" {number}") for number in range(count)], delta(finish_reason="stop"))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LATER):
        while not condition():  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.01)


async def test_a_stream_has_no_thread(server: ScriptedServer, load: Load) -> None:
    backend = load()
    before = {thread.name for thread in threading.enumerate()}
    async with backend.agenerate_stream("Hi") as stream:
        async for _ in stream:
            assert "llamaforge-stream" not in {thread.name for thread in threading.enumerate()} - before


async def test_connections_are_used_again(server: ScriptedServer, load: Load) -> None:
    backend = load()
    connections = server.connections
    for _ in range(5):
        assert await backend.agenerate("Hi") == "Hello"
    assert server.connections == connections + 1


def test_every_loop_has_its_own_and_leaves_nothing(server: ScriptedServer, load: Load) -> None:
    backend = load()
    for _ in range(5):
        assert asyncio.run(backend.agenerate("Hi")) == "Hello"
        assert len(server_of(backend)._clients) == 0
    gc.collect()  # what was left open would complain now
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(asyncio.run(backend.agenerate("Hi")))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LATER)
    assert results == ["Hello"] * 8


async def test_many_streams_at_once_keep_their_order(server: ScriptedServer, load: Load) -> None:
    streams, length = 200, 20
    gate = threading.Barrier(streams, timeout=LATER)

    def slow() -> Iterator[bytes]:
        gate.wait()  # all of them are open before one goes on
        for number in range(length):
            yield event(delta(f" {number}"))
        yield event(delta(finish_reason="stop"))

    server.chat(lambda _: stream_of(slow()))
    backend = load()
    answers = await asyncio.gather(*[backend.agenerate("Hi") for _ in range(streams)])
    assert set(answers) == {"".join(f" {number}" for number in range(length))}
    assert server_of(backend).load == 0


async def test_a_long_stream_takes_the_room_of_its_text(server: ScriptedServer, load: Load) -> None:
    chunk, count = event(delta("12345 ")) * 100, 30_000
    server.chat(lambda _: stream_of([*[chunk] * (count // 100), event(delta(finish_reason="stop"))]))
    backend = load()
    await backend.agenerate("Hi")
    tracemalloc.start()
    try:
        async with backend.agenerate_stream("Hi") as stream:
            async for _ in stream.events():
                pass
            taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(stream.text) == 6 * count
    assert taken < 6 * count + 300_000


@pytest.mark.parametrize("where", ["head", "body", "middle"])
async def test_a_deadline(where: str, server: ScriptedServer, load: Load) -> None:
    def middle() -> Iterator[bytes]:
        yield event(delta("Hel"))
        yield from server.hang()

    hanging = {
        "head": lambda _: Reply(head=server.hang()),
        "body": lambda _: stream_of(server.hang()),
        "middle": lambda _: stream_of(middle()),
    }
    server.chat(hanging[where])
    began = time.perf_counter()
    with pytest.raises(GenerationTimeoutError) as caught:
        await load(max_retries=3).agenerate("Hi", timeout=SOON)
    assert time.perf_counter() - began < LATER
    assert caught.value.text == ("Hel" if where == "middle" else "")


@pytest.mark.parametrize("where", ["head", "middle", "pause"])
async def test_another_thread_ends_a_wait(where: str, server: ScriptedServer, load: Load) -> None:
    def middle() -> Iterator[bytes]:
        yield event(delta("Hel"))
        yield from server.hang()

    server.chat(
        {
            "head": lambda _: Reply(head=server.hang()),
            "middle": lambda _: stream_of(middle()),
            "pause": json_reply({}, 503, Retry_After="60"),
        }[where]
    )
    backend = load(max_retries=3)
    stream = backend.agenerate_stream("Hi")
    reading = asyncio.create_task(stream.read())
    await until(server.posted)
    await asyncio.sleep(0.1)
    await asyncio.to_thread(stream.cancel)
    done, _ = await asyncio.wait([reading], timeout=LATER)
    assert done
    assert reading.result().finish_reason == "cancelled"
    assert len(server.posted()) == 1
    assert server_of(backend).load == 0
    server.chat(stream_reply(delta("Hi", "stop")))
    assert await backend.agenerate("Hi") == "Hi"


async def test_a_cancelled_task_leaves_the_server(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: stream_of(endless()))
    backend = load()
    task = asyncio.create_task(backend.agenerate("Hi"))
    await until(server.posted)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.left.wait, LATER)
    assert server_of(backend).load == 0


async def test_a_timeout_of_the_callers_own(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: Reply(head=server.hang()))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON):
            await load().agenerate("Hi")


async def test_leaving_early_leaves_the_server(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: stream_of(endless()))
    async with load().agenerate_stream("Hi") as stream:
        async for _ in stream:
            break
    assert await asyncio.to_thread(server.left.wait, LATER)
    assert stream.result.finish_reason == "cancelled"


async def test_a_slow_reader_makes_the_server_wait(server: ScriptedServer, load: Load) -> None:
    sent, most = 0, 2000

    def flood() -> Iterator[bytes]:
        nonlocal sent
        piece = event(delta("x" * 65536))
        for _ in range(most):
            sent += 1
            yield piece
        yield event(delta(finish_reason="stop"))

    server.chat(lambda _: stream_of(flood()))
    async with load().agenerate_stream("Hi") as stream:
        await anext(stream)
        before = -1
        while before != sent:  # until the server can't send any more
            before = sent
            await asyncio.sleep(0.3)
        assert sent < most, "what nobody reads is not taken in without a bound"


async def test_unloading_breaks_off_what_is_being_read(server: ScriptedServer, load: Load) -> None:
    def middle() -> Iterator[bytes]:
        yield event(delta("Hel"))
        yield from server.hang()

    server.chat(lambda _: stream_of(middle()))
    backend = load()
    stream = backend.agenerate_stream("Hi")
    assert await anext(stream) == "Hel"
    server_of(backend).close()
    with pytest.raises(ConnectionFailedError):
        await asyncio.wait_for(anext(stream), LATER)


async def test_the_loops_own_sockets_are_used(load: Load) -> None:
    client = await server_of(load()).loop_client()
    assert type(client._client._transport._pool._network_backend).__name__ == "_LoopNetwork"  # type: ignore[attr-defined]
    assert bind_to_loop(object()) is False


async def test_through_a_proxy(server: ScriptedServer, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.root)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    backend = load(api_base="http://far.example/v1", check_model=False)
    server.through_proxy("http://far.example")
    assert await backend.agenerate("Hi") == "Hello"
    assert server.last.path == "http://far.example/v1/chat/completions"


async def test_encrypted(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "cert.pem"))
    with ScriptedServer() as server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
        server._http.socket = context.wrap_socket(server._http.socket, server_side=True)
        server.on("GET", "/models", models_reply("m-1"))
        server.chat(lambda _: counting(50))
        backend = load(api_base=server.url.replace("http:", "https:"))
        wanted = "".join(f" {number}" for number in range(50))
        for _ in range(2):
            assert await backend.agenerate("Hi") == wanted
            assert await asyncio.to_thread(backend.generate, "Hi") == wanted
        server.chat(lambda _: stream_of(endless()))
        async with backend.agenerate_stream("Hi") as stream:
            await anext(stream)
        backend.close()
        monkeypatch.delenv("SSL_CERT_FILE")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(TLS / "cert.pem"))
        with pytest.raises(ConnectionFailedError, match=r"certificate.*SSL_CERT_FILE.*REQUESTS_CA_BUNDLE is set"):
            await asyncio.to_thread(load, api_base=server.url.replace("http:", "https:"))
        strange = load(api_base=server.url.replace("http:", "https:"), check_model=False)
        with pytest.raises(ConnectionFailedError, match=r"certificate.*SSL_CERT_FILE"):
            await strange.agenerate("Hi")


async def test_nobody_at_the_address(load: Load) -> None:
    backend: Any = load(api_base="http://127.0.0.1:9/v1", check_model=False)
    with pytest.raises(ConnectionFailedError):
        await backend.agenerate("Hi")
