"""One request and its answer, step by step. No input or output of its own: one way for threads and event loops.

The SDK sends the request, authenticates it and turns bad statuses into exceptions; the bytes of the answer are read
here. (The SDK's own iteration closes the connection after every answer instead of keeping it, takes a stream that was
cut off for a complete one, and builds a pydantic object of every chunk.)
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from enum import Enum
from typing import Any, NamedTuple

from llamaforge.errors import GenerationTimeoutError, LlamaForgeError
from llamaforge.results import Event

from ..answer.decoder import AnswerDecoder
from ..embedding import BodyDecoder
from ..endpoint import Endpoint
from .cancel_scope import CancelScope
from .retries import Attempts
from .server_client import ServerClient
from .session import Session


class Call(NamedTuple):
    """What is asked."""

    compose: Callable[[Endpoint], tuple[str, bytes]]
    """Path and body for a server."""
    decoder: Callable[[ServerClient], AnswerDecoder | BodyDecoder]
    """Makes events of a server's answer."""
    explain: Callable[[LlamaForgeError], LlamaForgeError]
    """What is raised for a failure."""


class Post(NamedTuple):
    """To be done: send this; gives the status and the headers of the answer."""

    server: ServerClient
    path: str
    body: bytes


class Pause(NamedTuple):
    """To be done: wait that long, in seconds, but not past a cancellation."""

    seconds: float


class Do(Enum):
    """To be done with the answer."""

    READ = "read"
    """Gives the next bytes of the body; None at its end."""
    DRAIN = "drain"
    """Read what is left for a moment at most, so that the connection can be used again; and close it."""
    CLOSE = "close"
    """Leave it, at which the server stops its work, if it is still at work."""


Step = Post | Pause | Do
Exchange = Generator[Step | list[Event], Any, None]
"""Yields what is to be done, and is sent what came of it; and lists of events for the caller."""


def exchange(call: Call, session: Session, scope: CancelScope) -> Exchange:
    """Post, and read the answer to its end. Whoever drives it closes the answer, however it ends.

    Errors are ours. A stream that merely ends is none here: the decoder knows whether the answer was complete.
    """
    try:
        yield from _exchange(call, session, scope)
    except LlamaForgeError as error:
        explained = call.explain(error)
        if explained is error:
            raise
        raise explained from None


def _exchange(call: Call, session: Session, scope: CancelScope) -> Exchange:
    server, head = yield from _open(call, session, scope)
    decoder = call.decoder(server)
    decoder.content_type = head.headers.get("content-type", "").partition(";")[0].strip()
    try:
        while not decoder.is_over:
            piece = yield from _read(server, scope)
            if piece is None:
                break
            events: list[Event] = []
            failure = decoder.feed(piece, events)
            if events:
                yield events
            if failure is not None:
                raise failure
        yield Do.DRAIN if decoder.is_over and not decoder.leaves else Do.CLOSE
        yield decoder.finish()
    except GenerationTimeoutError as error:
        raise GenerationTimeoutError(error.timeout, decoder.text) from None


def _open(call: Call, session: Session, scope: CancelScope) -> Generator[Step, Any, tuple[ServerClient, Any]]:
    """The answer of the first server that gives one, and its head."""
    attempts = Attempts(session.servers, session.max_retries, scope)
    while True:
        server, pause = attempts.next()
        if pause:
            yield Pause(pause)
        path, body = call.compose(server.endpoint)
        try:
            head = yield Post(server, path, body)
        except Exception as error:  # noqa: BLE001 - each is translated by its type
            failure = None if attempts.failed(server, error) else server.translator.translate(error, scope)
        else:
            return server, head
        if failure is not None:
            # Out of the except clause, so that the SDK's exception, which holds our headers, isn't its context.
            raise failure


def _read(server: ServerClient, scope: CancelScope) -> Generator[Step, Any, bytes | None]:
    failure: LlamaForgeError
    try:
        piece: bytes | None = yield Do.READ
    except Exception as error:  # noqa: BLE001 - each is translated by its type
        failure = server.translator.translate(error, scope)
    else:
        if not scope.expired:
            return piece
        failure = GenerationTimeoutError(scope.timeout or 0.0)
    raise failure
