"""Between us and a sound server stands a proxy that harms the answer: a typed error, or a retry, never a short answer.

Each fault is met in a thread and in an event loop.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forge_openai import OpenAIBackend
from forge_openai.wire import retries
from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    GenerationTimeoutError,
    LlamaForgeError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
)
from llamaforge.results import GeneratedText, Usage
from support.fault_proxy import (
    ClientEnd,
    Fault,
    FaultProxy,
    cut,
    delayed,
    endless,
    in_pieces,
    instead,
    passing,
    replaced,
    reset,
    status,
)
from support.scripted import ScriptedServer, delta, event, stream_reply, usage

SOON, LATER = 0.4, 30.0
HEAD = b"\r\n\r\n"
FIRST = b'"Hel"'
LAST = b'"finish_reason": "stop"'
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"

CHUNKED = STREAM + b"Transfer-Encoding: chunked\r\n\r\n"


def sent(*pieces: bytes) -> Fault:
    """Those bytes as a stream's chunks, and the connection's end."""
    return cut_behind(CHUNKED + b"".join(map(framed, (*pieces, b""))))


def framed(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)


def cut_behind(answer: bytes) -> Fault:
    """Another answer, and the connection's end."""

    def fault(_: bytes, client: ClientEnd) -> None:
        client.send(answer)
        client.close()

    return fault


BROKEN = event({"error": {"message": "Broke.", "code": 500}})

Ask = Callable[..., GeneratedText]


@pytest.fixture(params=["thread", "loop"])
def ask(request: pytest.FixtureRequest) -> Iterator[Ask]:
    """Ask a backend in the one way or in the other; all of a test in one event loop."""
    with asyncio.Runner() as runner:

        def ask(backend: OpenAIBackend, **parameters: Any) -> GeneratedText:
            if request.param == "thread":
                return backend.generate("Hi", **parameters)
            return runner.run(backend.agenerate("Hi", **parameters))

        yield ask


@pytest.fixture
def proxy(server: ScriptedServer) -> Iterator[FaultProxy]:
    server.chat(stream_reply(delta("Hel"), delta("lo"), delta(finish_reason="stop"), usage(3, 2)))
    with FaultProxy(server.url, passing) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no server asks for one."""
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 0.02)


@pytest.fixture
def backend(proxy: FaultProxy) -> Iterator[OpenAIBackend]:
    backend = OpenAIBackend()
    # A check would leave a connection behind, and its end before the first answer is no try.
    sure = {"api_key": "sk-1", "api_base": proxy.url, "check_model": False}
    backend.load_model("m-1", {**sure, "max_retries": 2, "timeout": LATER})
    with backend:
        yield backend


PASSING: dict[str, list[Fault]] = {
    "nothing": [passing],
    "a delay before the first byte": [delayed(0.1)],
    "a delay in the head": [delayed(0.1, after=10)],
    "a delay in the body": [delayed(0.1, after=250)],
    "a byte at a time": [in_pieces(1)],
    "cut where it likes": [in_pieces(7)],
    "a reset before the first byte": [reset(), passing],
    "an end before the first byte": [cut(), cut(), passing],
    "a reset in the head": [reset(b"HTTP/1.1 2"), passing],
    "503": [status(503, Retry_After="0.05"), passing],
    "429": [status(429, Retry_After="0.05"), status(429, retry_after_ms="50"), passing],
    "a sound stream without an end of the connection's": [endless(b"[DONE]\n\n\r\n", b"")],
}


@pytest.mark.parametrize("fault", PASSING)
def test_faults_that_pass(fault: str, proxy: FaultProxy, backend: OpenAIBackend, ask: Ask) -> None:
    proxy.then(PASSING[fault])
    answer = ask(backend)
    assert (answer, answer.finish_reason) == ("Hello", "stop")
    assert answer.usage == Usage(prompt_tokens=3, completion_tokens=2)
    assert len(proxy.asked) == len(PASSING[fault])


def test_a_pause_that_is_asked_for_is_made(proxy: FaultProxy, backend: OpenAIBackend, ask: Ask) -> None:
    proxy.then([status(429, Retry_After="0.2"), status(503, Retry_After="0.3"), passing])
    assert ask(backend) == "Hello"
    pauses = [later - earlier for earlier, later in itertools.pairwise(proxy.asked)]
    assert pauses[0] >= 0.2
    assert pauses[1] >= 0.3


def test_a_connection_that_was_kept_too_long_costs_no_pause(
    proxy: FaultProxy, backend: OpenAIBackend, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "_FIRST_PAUSE", 300.0)
    monkeypatch.setattr(retries, "_LONGEST_PAUSE", 300.0)
    assert ask(backend) == "Hello"
    for harm in (reset(), cut()):
        proxy.then([harm, passing])
        assert ask(backend, timeout=100) == "Hello"


FAILING: dict[str, tuple[Fault, type[LlamaForgeError], int]] = {
    # In each: what is done, what comes of it, how often it is tried.
    "resets before the first byte": (reset(), ConnectionFailedError, 3),
    "ends before the first byte": (cut(), ConnectionFailedError, 3),
    "no HTTP": (instead(b"SSH-2.0-OpenSSH\r\n\r\n"), ConnectionFailedError, 3),
    "a reset after the head": (reset(HEAD), ConnectionFailedError, 1),
    "an end after the head": (cut(HEAD), ConnectionFailedError, 1),
    "a reset after the first event": (reset(FIRST), ConnectionFailedError, 1),
    "an end after the first event": (cut(FIRST), ConnectionFailedError, 1),
    "an end in the middle of a chunk's size": (cut(b"]}\n\n\r\n7"), ConnectionFailedError, 1),
    "an end before the answer's last event": (
        cut(b'"lo"}, "finish_reason": null}]}\n\n\r\n'),
        ConnectionFailedError,
        1,
    ),
    "a chunk with a wrong size": (
        cut_behind(CHUNKED + framed(event(delta("Hel"))) + b"2\r\n" + event(delta("lo", "stop"))),
        ConnectionFailedError,
        1,
    ),
    "an empty stream": (cut_behind(STREAM + b"Content-Length: 0\r\n\r\n"), ConnectionFailedError, 1),
    "an empty stream in chunks": (sent(), ConnectionFailedError, 1),
    "a length that is a lie": (
        cut_behind(STREAM + b"Content-Length: 999\r\n\r\n" + event(delta("Hel"))),
        ConnectionFailedError,
        1,
    ),
    "only the end mark": (sent(event("[DONE]")), ConnectionFailedError, 1),
    "no reason at the end": (sent(event(delta("Hel"))), ConnectionFailedError, 1),
    "a whole answer without a stream": (
        instead(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + b'{"choices": []}'
        ),
        ServerError,
        1,
    ),
    "429 for ever": (status(429, Retry_After="0.01"), RateLimitError, 3),
    "429 for an hour": (status(429, Retry_After="3600"), RateLimitError, 1),
    "503 for ever": (status(503, Retry_After="0.01"), ServerError, 3),
    "401": (status(401), AuthenticationError, 1),
    "404": (status(404), ServerError, 1),
    "404 for the model": (
        status(404, b'{"error": {"message": "No.", "code": "model_not_found"}}'),
        ModelNotFoundError,
        1,
    ),
    "a page": (
        instead(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n" + b"<html>Hi</html>"),
        ServerError,
        1,
    ),
    "no JSON": (replaced(b'{"object"', b'{"object '), ServerError, 1),
    "an error in the stream": (sent(event(delta("Hel")), BROKEN, event(delta("lo", "stop"))), ServerError, 1),
}


@pytest.mark.parametrize("fault", FAILING)
def test_faults_that_do_not(fault: str, proxy: FaultProxy, backend: OpenAIBackend, ask: Ask) -> None:
    harm, kind, tries = FAILING[fault]
    proxy.then([harm])
    with pytest.raises(kind) as caught:
        ask(backend)
    assert type(caught.value) is kind
    assert len(proxy.asked) == tries
    proxy.then([passing])
    assert ask(backend) == "Hello", "the next request works"


@pytest.mark.parametrize("more", [b"", b"3\r\n:\n\n\r\n"], ids=["silence", "comments"])
def test_a_stream_that_never_ends(more: bytes, proxy: FaultProxy, backend: OpenAIBackend, ask: Ask) -> None:
    proxy.then([endless(b'"Hel"}, "finish_reason": null}]}\n\n\r\n', more)])
    with pytest.raises(GenerationTimeoutError) as caught:
        ask(backend, timeout=SOON)
    assert caught.value.text == "Hel"
    assert len(proxy.asked) == 1


def test_silence_longer_than_the_load_parameter_allows(proxy: FaultProxy, ask: Ask) -> None:
    proxy.then([endless(FIRST, b"")])
    with OpenAIBackend() as backend:
        backend.load_model("m-1", {"api_key": "sk-1", "api_base": proxy.url, "timeout": SOON})
        with pytest.raises(ConnectionFailedError, match="sent nothing for too long"):
            ask(backend)
    assert len(proxy.asked) == 1


def test_a_deadline_ends_the_pauses_between_tries(proxy: FaultProxy, backend: OpenAIBackend, ask: Ask) -> None:
    proxy.then([status(503, Retry_After="20")])
    with pytest.raises(ServerError):
        ask(backend, timeout=SOON)
    assert len(proxy.asked) == 1


def test_what_came_before_the_fault_was_passed_on(proxy: FaultProxy, backend: OpenAIBackend) -> None:
    for fault in (FAILING["an error in the stream"][0], FAILING["a chunk with a wrong size"][0], reset(b'"lo"')):
        proxy.then([fault])
        stream = backend.generate_stream("Hi")
        assert next(stream) == "Hel"
        with pytest.raises((ServerError, ConnectionFailedError)):
            next(stream)
