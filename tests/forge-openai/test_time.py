"""Deadlines, retries, cancellation: how long a call may take, and how it ends before its end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forge_openai import OpenAIBackend
from forge_openai.wire.cancel_scope import CancelScope, current_scope
from forge_openai.wire.network import bound_network
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    GenerationTimeoutError,
    ModelNotLoadedError,
    RateLimitError,
    ServerError,
)
from support.scripted import (
    Cut,
    Received,
    Reply,
    ScriptedServer,
    delta,
    error_reply,
    event,
    json_reply,
    stream_of,
    stream_reply,
)

Load = Callable[..., OpenAIBackend]

SOON = 0.4
"""A deadline, in seconds: long enough for the first events to come."""
LATER = 30.0
"""What only a broken deadline reaches."""


def drip(server: ScriptedServer, piece: bytes = b":\n") -> Iterator[bytes]:
    """A byte now and then, for ever."""
    while not server.closing.wait(0.02):
        yield piece


def slow_heads(server: ScriptedServer) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Slow: "
    yield from drip(server, b"x")


def then(server: ScriptedServer, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield event(delta("Hel"))
    yield from rest


SLOW: dict[str, Callable[[ScriptedServer], Reply]] = {
    "no answer": lambda server: Reply(head=server.hang()),
    "headers byte by byte": lambda server: Reply(head=slow_heads(server)),
    "a body that never begins": lambda server: stream_of(server.hang()),
    "comments for ever": lambda server: stream_of(drip(server)),
    "an error that never ends": lambda server: Reply(400, {"Content-Type": "application/json"}, drip(server)),
    "another content type, byte by byte": lambda server: Reply(200, {"Content-Type": "text/html"}, drip(server)),
}


@pytest.mark.parametrize("fault", SLOW)
def test_the_deadline_is_one_for_everything(fault: str, server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: SLOW[fault](server))
    backend = load(max_retries=5)
    began = time.perf_counter()
    with pytest.raises(GenerationTimeoutError) as caught:
        backend.generate("Hi", timeout=SOON)
    assert time.perf_counter() - began < LATER
    assert (caught.value.timeout, caught.value.text) == (SOON, "")


@pytest.mark.parametrize("rest", [lambda server: server.hang(), drip, lambda server: drip(server, event(delta("x")))])
def test_the_text_so_far_is_kept(
    rest: Callable[[ScriptedServer], Iterator[bytes]], server: ScriptedServer, load: Load
) -> None:
    server.chat(lambda _: stream_of(then(server, rest(server))))
    with pytest.raises(GenerationTimeoutError) as caught:
        load().generate("Hi", timeout=SOON)
    assert caught.value.text.rstrip("x") == "Hel"


def test_the_text_so_far_is_kept_without_the_base_class_too(server: ScriptedServer, load: Load) -> None:
    from llamaforge.requests import read_request

    server.chat(lambda _: stream_of(then(server, server.hang())))
    request = read_request("Hi", None, {"timeout": SOON})
    with pytest.raises(GenerationTimeoutError) as caught:
        list(load().stream(request, CancellationToken(SOON)))
    assert caught.value.text == "Hel"


def test_the_clock_starts_with_the_call(server: ScriptedServer, load: Load) -> None:
    stream = load().generate_stream("Hi", timeout=0.1)
    time.sleep(0.2)
    with pytest.raises(GenerationTimeoutError):
        next(stream)


def test_a_deadline_that_is_met_changes_nothing(server: ScriptedServer, load: Load) -> None:
    assert load().generate("Hi", timeout=LATER) == "Hello"


async def test_async_deadline(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: stream_of(then(server, server.hang())))
    with pytest.raises(GenerationTimeoutError) as caught:
        await load().agenerate("Hi", timeout=SOON)
    assert caught.value.text == "Hel"


def test_silence_without_a_deadline(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: stream_of(then(server, server.hang())))
    with pytest.raises(ConnectionFailedError, match="sent nothing for too long"):
        load(timeout=SOON).generate("Hi")


def test_the_network_is_bounded() -> None:
    """What the deadlines rest on: httpx's pools are where we look for them."""
    import openai

    with openai.DefaultHttpxClient() as http:
        assert bound_network(http)
        assert type(http._transport._pool._network_backend).__name__ == "_ScopedNetwork"  # type: ignore[attr-defined]


def test_so_is_the_way_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    import openai

    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with openai.DefaultHttpxClient() as http:
        assert bound_network(http)
        proxies = [mounted._pool for mounted in http._mounts.values() if mounted is not None]  # type: ignore[attr-defined]
        assert proxies
        assert all(type(pool._network_backend).__name__ == "_ScopedNetwork" for pool in proxies)


def test_a_deadline_holds_through_a_proxy(server: ScriptedServer, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.root)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    backend = load(api_base="http://far.example/v1", check_model=False)
    server.through_proxy("http://far.example")
    assert backend.generate("Hi") == "Hello"
    assert server.last.path == "http://far.example/v1/chat/completions"
    server.chat(lambda _: stream_of(then(server, drip(server))))
    with pytest.raises(GenerationTimeoutError) as caught:
        backend.generate("Hi", timeout=SOON)
    assert caught.value.text == "Hel"


def test_an_http_library_built_otherwise_still_works() -> None:
    assert bound_network(object()) is False


PASSING = [
    error_reply(408),
    error_reply(409),
    error_reply(429),
    error_reply(500),
    error_reply(503),
    json_reply({}, 400, x_should_retry="true"),
]


@pytest.mark.parametrize("failure", PASSING, ids=lambda reply: str(reply.status))
def test_failures_that_may_pass_are_tried_again(failure: Reply, server: ScriptedServer, load: Load) -> None:
    failure.headers["Retry-After"] = "0.01"
    server.chat(failure, failure, stream_reply(delta("Hi", "stop")))
    assert load(max_retries=2).generate("Hi") == "Hi"
    assert len(server.posted()) == 3
    assert len({request.raw for request in server.posted()}) == 1


def test_so_are_lost_connections(server: ScriptedServer, load: Load) -> None:
    def cut() -> Iterator[bytes]:
        raise Cut
        yield b""

    server.chat(lambda _: Reply(head=cut()), stream_reply(delta("Hi", "stop")))
    assert load(max_retries=1).generate("Hi") == "Hi"


def cut_before_the_head(_: Received) -> Reply:
    def cut() -> Iterator[bytes]:
        raise Cut
        yield b""

    return Reply(head=cut())


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_a_kept_connection_that_the_server_closed_is_no_try(reset: bool, server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta("Hi", "stop")))
    backend = load(max_retries=0)
    assert backend.generate("Hi") == "Hi"
    server.chat(cut_before_the_head if reset else Reply(head=[]), stream_reply(delta("Ho", "stop")))
    assert backend.generate("Hi") == "Ho"
    assert len(server.posted()) == 3


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
async def test_nor_in_an_event_loop(reset: bool, server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta("Hi", "stop")))
    backend = load(max_retries=0)
    assert await backend.agenerate("Hi") == "Hi"
    server.chat(cut_before_the_head if reset else Reply(head=[]), stream_reply(delta("Ho", "stop")))
    assert await backend.agenerate("Hi") == "Ho"
    assert len(server.posted()) == 3


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_a_new_connection_that_it_closed_is_one(reset: bool, server: ScriptedServer, load: Load) -> None:
    server.chat(cut_before_the_head if reset else Reply(head=[]), stream_reply(delta("Ho", "stop")))
    with pytest.raises(ConnectionFailedError):
        load(max_retries=0, check_model=False).generate("Hi")
    assert len(server.posted()) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_will_not_change_is_not(status: int, server: ScriptedServer, load: Load) -> None:
    server.chat(error_reply(status), stream_reply(delta("Hi", "stop")))
    with pytest.raises((ServerError, AuthenticationError)):
        load(max_retries=3).generate("Hi")
    assert len(server.posted()) == 1


def test_nor_what_the_server_says_will_not(server: ScriptedServer, load: Load) -> None:
    server.chat(json_reply({}, 500, x_should_retry="false"), stream_reply(delta("Hi", "stop")))
    with pytest.raises(ServerError):
        load(max_retries=3).generate("Hi")
    assert len(server.posted()) == 1


def test_the_last_failure_is_the_one_that_counts(server: ScriptedServer, load: Load) -> None:
    first, last = json_reply({}, 500, Retry_After="0.01"), json_reply({}, 429, Retry_After="0.02")
    server.chat(first, last)
    with pytest.raises(RateLimitError) as caught:
        load(max_retries=1).generate("Hi")
    assert caught.value.retry_after == 0.02


@pytest.mark.parametrize(("asked", "timeout"), [("60", SOON), ("3600", None)])
def test_nobody_waits_past_the_deadline_or_for_ever(
    asked: str, timeout: float | None, server: ScriptedServer, load: Load
) -> None:
    server.chat(json_reply({}, 429, Retry_After=asked))
    began = time.perf_counter()
    with pytest.raises(RateLimitError) as caught:
        load(max_retries=5).generate("Hi", timeout=timeout)
    assert time.perf_counter() - began < LATER
    assert caught.value.retry_after == float(asked)
    assert len(server.posted()) == 1


@pytest.mark.parametrize("cut", [True, False], ids=["reset", "closed"])
def test_never_again_after_the_first_event(cut: bool, server: ScriptedServer, load: Load) -> None:
    def broken() -> Iterator[bytes]:
        yield event(delta("Hel"))
        if cut:
            raise Cut

    server.chat(lambda _: stream_of(broken()))
    stream = load(max_retries=3).generate_stream("Hi")
    assert next(stream) == "Hel"
    with pytest.raises(ConnectionFailedError):
        next(stream)
    assert len(server.posted()) == 1
    assert stream.text == "Hel"


def test_a_cut_inside_a_chunk_of_the_transfer(server: ScriptedServer, load: Load) -> None:
    whole = event(delta("Hel"))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"%x\r\n%s\r\n" % (len(whole), whole)
    server.chat(Reply(head=[head, body, b"40\r\ndata: "]))
    with pytest.raises(ConnectionFailedError):
        load().generate("Hi")


def test_an_answer_that_is_whole_survives_a_cut(server: ScriptedServer, load: Load) -> None:
    def broken() -> Iterator[bytes]:
        yield event(delta("Hello", "stop"))
        yield event("[DONE]")
        raise Cut

    server.chat(lambda _: stream_of(broken()))
    assert load().generate("Hi") == "Hello"


def test_a_server_that_keeps_the_connection_open_after_the_end(server: ScriptedServer, load: Load) -> None:
    def lingering() -> Iterator[bytes]:
        yield event(delta("Hello", "stop"))
        yield event("[DONE]")
        yield from server.hang()

    server.chat(lambda _: stream_of(lingering()))
    began = time.perf_counter()
    assert load().generate("Hi") == "Hello"
    assert time.perf_counter() - began < LATER


def endless(server: ScriptedServer) -> Iterator[bytes]:
    yield event(delta("Hel"))
    yield from drip(server, event(delta("x")))


def test_closing_a_stream_closes_the_connection(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: stream_of(endless(server)))
    with load().generate_stream("Hi") as stream:
        assert next(stream) == "Hel"
    assert stream.result.finish_reason == "cancelled"
    assert stream.result.startswith("Hel")
    assert server.left.wait(LATER)


def test_dropping_a_stream_does_so_too(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: stream_of(endless(server)))
    stream = load().generate_stream("Hi")
    next(stream)
    del stream
    assert server.left.wait(LATER)


def until_posted(server: ScriptedServer) -> None:
    while not server.posted():
        time.sleep(0.01)


HANGING = {
    "before the headers": lambda server: Reply(head=server.hang()),
    "before the body": lambda server: stream_of(server.hang()),
    "in the middle": lambda server: stream_of(then(server, server.hang())),
}


@pytest.mark.parametrize("where", HANGING)
def test_another_thread_ends_a_wait(where: str, server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: HANGING[where](server))
    backend = load(max_retries=3)
    stream = backend.generate_stream("Hi")
    results: list[Any] = []
    reader = threading.Thread(target=lambda: results.append(stream.read()))
    reader.start()
    until_posted(server)
    time.sleep(0.1)
    stream.close()
    reader.join(LATER)
    assert not reader.is_alive()
    assert results[0].finish_reason == "cancelled"
    assert len(server.posted()) == 1
    server.chat(stream_reply(delta("Hi", "stop")))
    assert backend.generate("Hi") == "Hi"


def test_another_thread_ends_a_pause_between_two_tries(server: ScriptedServer, load: Load) -> None:
    server.chat(json_reply({}, 503, Retry_After="60"))
    stream = load(max_retries=3).generate_stream("Hi")
    results: list[Any] = []
    reader = threading.Thread(target=lambda: results.append(stream.read()))
    reader.start()
    until_posted(server)
    stream.close()
    reader.join(LATER)
    assert not reader.is_alive()
    assert results[0].finish_reason == "cancelled"
    assert len(server.posted()) == 1


async def test_cancelling_a_task_ends_a_wait(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: Reply(head=server.hang()))
    task = asyncio.create_task(load().agenerate("Hi"))
    await asyncio.to_thread(until_posted, server)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    waiting = [thread for thread in threading.enumerate() if thread.name == "llamaforge-stream"]
    for thread in waiting:
        await asyncio.to_thread(thread.join, LATER)
        assert not thread.is_alive()


def test_unloading_breaks_off_what_is_being_read(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: stream_of(endless(server)))
    backend = load()
    stream = backend.generate_stream("Hi")
    next(stream)
    backend.unload_model()
    with pytest.raises(ModelNotLoadedError, match="unloaded while the server answered"):
        stream.read()
    assert server.left.wait(LATER)


def test_scopes_do_not_leak_from_one_request_to_another(server: ScriptedServer, load: Load) -> None:
    server.chat(lambda _: stream_of(endless(server)), stream_reply(delta("Hi", "stop")))
    backend = load()
    first = backend.generate_stream("Hi", timeout=LATER)
    next(first)
    assert current_scope() is None
    assert backend.generate("Hi") == "Hi"
    first.close()


def test_a_cancelled_scope_refuses_to_wait() -> None:
    scope = CancelScope()
    assert (scope.bounded, scope.expired, scope.cancelled) == (False, False, False)
    interrupted = []
    scope.waiting(lambda: interrupted.append(1))
    scope.cancel()
    assert interrupted == [1]
    scope.waiting(None)
    with pytest.raises(ConnectionAbortedError):
        scope.waiting(lambda: None)
    scope.sleep(LATER)
