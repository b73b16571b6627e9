"""What all endpoints with a body have in common: reading it, watching the client, telling errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from llamaforge.arriving import arriving

from .asked import Voice
from .errors import Problem, ending, invalid, problem
from .exchange import ClientGone, Exchange
from .metrics import Counted
from .service import Service

if TYPE_CHECKING:
    from llamaforge.observers import Operation, Outcome

_OUTCOMES: Final[Mapping[type[BaseException], Outcome]] = {Problem: "refused", ClientGone: "cancelled"}
"""How our own exceptions end a request, for observers."""
_LONGEST: Final = 64
"""Characters of a field's name in a header."""


class Endpoint:
    """An ASGI application for one path.

    Args:
        voice: the dialect in which errors are told.
        service: the models, and what belongs to them.
        operation: what it does, for observers. None: nothing that they hear of.
    """

    def __init__(self, voice: Voice, service: Service, operation: Operation | None = None) -> None:
        self.voice = voice
        self.service = service
        self.operation: Operation | None = operation

    async def respond(self, exchange: Exchange, body: dict[str, Any], counted: Counted) -> None:
        """Answer the request in *body*. Raises Problem or an error of the models."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        config = self.service.config
        exchange = Exchange(scope, receive, send, config.max_body, config.read_timeout)
        with self.service.metrics.request(self.voice.name) as counted:
            scope.setdefault("state", {})["counted"] = counted
            try:
                with self.arriving(exchange) as counted.arrival:
                    await self.respond(exchange, await exchange.json(), counted)
            except ClientGone:
                counted.ending = "disconnected"
            except asyncio.CancelledError:
                counted.ending = "disconnected"
                if not self.service.ending.is_set():
                    raise
                await self._fail(exchange, ending(), counted)
            except Exception as error:  # noqa: BLE001 - each has an answer
                await self._fail(exchange, error, counted)

    async def _fail(self, exchange: Exchange, error: Exception, counted: Counted) -> None:
        """Answer with an error. Not in the frame that caught it: a variable there would keep the error, its traceback
        and all frames of it alive until the garbage collector comes."""
        found = problem(error)
        counted.ending = found.kind
        if not exchange.started:  # otherwise the stream has told it
            with contextlib.suppress(OSError):
                await exchange.answer(self.voice.error(found), found.status, found.headers)

    def arriving(self, exchange: Exchange) -> contextlib.AbstractContextManager[arriving | None]:
        """Let observers hear of a request that ends before it reaches a model."""
        if self.operation is None:
            return contextlib.nullcontext()
        return arriving(self.operation, exchange.scope["headers"], _OUTCOMES)

    async def watched(
        self, exchange: Exchange, work: Coroutine[Any, Any, None], counted: Counted, *beside: Coroutine[Any, Any, None]
    ) -> None:
        """Do *work*, with what runs *beside* it; stop at once where the client leaves, whatever is under way.

        Raises ClientGone then.
        """
        answering = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(exchange.disconnected())
        others = [asyncio.ensure_future(each) for each in beside]
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await answering
                raise ClientGone
            await answering
        finally:
            for task in (answering, leaving, *others):
                task.cancel()


def deadline(exchange: Exchange) -> float | None:
    """``X-Request-Timeout``: seconds until the answer must be there. Raises Problem."""
    said = exchange.header("x-request-timeout")
    if said is None:
        return None
    try:
        seconds = float(said)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise invalid("The header X-Request-Timeout must be a number of seconds greater than 0.", "X-Request-Timeout")
    return seconds


def ignored_header(names: list[str]) -> dict[str, str]:
    """What the client is told of fields that mean nothing here."""
    if not names:
        return {}
    return {"llamaforge-ignored": ", ".join(quote(name[:_LONGEST], safe="[]") for name in names[:32])}
