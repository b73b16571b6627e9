"""Reading the stream: the one room that knows how chunks travel.

The SDK sends the request, authenticates it and turns bad statuses into exceptions; the bytes of the answer are read
here. (The SDK's own iteration closes the connection after every answer instead of keeping it, takes a stream that was
cut off for a complete one, and builds a pydantic object of every chunk.)
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llamaforge.errors import GenerationTimeoutError, LlamaForgeError, ServerError

from .chunks import Chunk
from .scope import CancelScope
from .sse import EventParser, ServerSentEvent

if TYPE_CHECKING:
    from .session import Session

_DONE: Final = b"[DONE]"
_DRAIN: Final = 0.2
"""Seconds to wait for the end of the body after the last event, so that the connection can be used again."""
_NO_STREAM: Final = ("application/json", "text/html")
"""Content types that are certainly no event stream."""
_EXCERPT: Final = 300
_SOON: Final = 0.001

_decode = msgspec.json.Decoder(Chunk).decode


def read_chunks(session: Session, path: str, body: bytes, scope: CancelScope) -> Generator[Chunk, None, None]:
    """Post *body* to *path* and yield the answer's chunks as they come.

    Closing the generator closes the response, at which a server stops its work. Errors are ours; a stream that merely
    ends is not one here: whoever reads it knows whether the answer was complete.
    """
    response = _post(session, path, body, scope)
    try:
        _check_type(session, response, scope)
        pieces = response.iter_bytes()
        parser = EventParser()
        while True:
            piece = _next_piece(session, pieces, scope)
            if piece is None:
                return
            for event in parser.feed(piece):
                if event.data == _DONE:
                    _drain(session, pieces, scope)
                    return
                yield _read_event(session, event)
    finally:
        response.close()


def _post(session: Session, path: str, body: bytes, scope: CancelScope) -> Any:
    import openai

    def call() -> Any:
        options: openai.RequestOptions = {"headers": {"Content-Type": "application/json"}}
        if scope.bounded:
            options["timeout"] = _shorter(session.client.timeout, max(scope.left(), _SOON))
        return session.client.post(
            path, content=body, cast_to=object, options=options, stream=True, stream_cls=openai.Stream[object]
        ).response

    failure: LlamaForgeError
    try:
        return session.attempt(call, scope)
    except Exception as error:  # noqa: BLE001 - each is translated by its type
        failure = session.translator.translate(error, scope)
    # Out of the except clause, so that the SDK's exception, which holds our headers, isn't its context.
    raise failure


def _next_piece(session: Session, pieces: Iterator[bytes], scope: CancelScope) -> bytes | None:
    failure: LlamaForgeError
    try:
        with scope:
            piece = next(pieces, None)
    except Exception as error:  # noqa: BLE001 - each is translated by its type
        failure = session.translator.translate(error, scope)
    else:
        if not scope.expired:
            return piece
        failure = GenerationTimeoutError(scope.timeout or 0.0)
    raise failure


def _check_type(session: Session, response: Any, scope: CancelScope) -> None:
    """Refuse an answer that is no event stream, with what it is instead."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().casefold()
    if kind not in _NO_STREAM:
        return
    text = b""
    pieces = response.iter_bytes()
    while len(text) < _EXCERPT * 10 and (piece := _next_piece(session, pieces, scope)) is not None:
        text += piece
    with contextlib.suppress(msgspec.DecodeError):
        found = msgspec.json.decode(text)
        if isinstance(found, dict) and found.get("error"):
            raise session.translator.answer_error(None, found)
    excerpt = text.decode("utf-8", "replace")[:_EXCERPT]
    raise ServerError(
        session.endpoint.address,
        response.status_code,
        session.translator.clean(
            f"it sent {kind} instead of an event stream; is the address right? It begins: {excerpt}"
        ),
    )


def _read_event(session: Session, event: ServerSentEvent) -> Chunk:
    translator = session.translator
    try:
        chunk = _decode(event.data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        shown = event.data[:_EXCERPT].decode("utf-8", "replace")
        raise ServerError(
            translator.address, None, translator.clean(f"it sent an event that is no chunk ({error}): {shown}")
        ) from None
    if chunk.error or chunk.object == "error" or event.type == "error":
        raise translator.answer_error(None, msgspec.json.decode(event.data))
    return chunk


def _drain(session: Session, pieces: Iterator[bytes], scope: CancelScope) -> None:
    """Read what is left of the body, for a moment at most."""
    import httpx2

    if session.bounded:
        brief = CancelScope(min(_DRAIN, scope.left()))
        with contextlib.suppress(httpx2.HTTPError, httpx2.StreamError, ssl.SSLError, OSError), brief:
            for _ in pieces:
                pass


def _shorter(timeout: Any, seconds: float) -> Any:
    """A client's *timeout*, each of its parts at most *seconds*."""
    import openai

    if not isinstance(timeout, openai.Timeout):
        return seconds if timeout is None else min(timeout, seconds)
    parts = {name: seconds if part is None else min(part, seconds) for name, part in timeout.as_dict().items()}
    return openai.Timeout(**parts)
