"""What all endpoints with a body have in common: reading it, watching the client, telling errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any
from urllib.parse import quote

from starlette.types import Receive, Scope, Send

from .asked import Voice
from .errors import invalid, problem
from .exchange import ClientGone, Exchange
from .metrics import Counted
from .service import Service


class Endpoint:
    """An ASGI application for one path.

    Args:
        voice: the dialect in which errors are told.
        service: the models, and what belongs to them.
    """

    def __init__(self, voice: Voice, service: Service) -> None:
        self.voice = voice
        self.service = service

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
                await self.respond(exchange, await exchange.json(), counted)
            except ClientGone:
                counted.ending = "disconnected"
            except asyncio.CancelledError:
                counted.ending = "disconnected"
                raise
            except Exception as error:  # noqa: BLE001 - each has an answer
                found = problem(error)
                counted.ending = found.kind
                if not exchange.started:  # otherwise the stream has told it
                    with contextlib.suppress(OSError):
                        await exchange.answer(self.voice.error(found), found.status, found.headers)

    async def watched(
        self, exchange: Exchange, work: Coroutine[Any, Any, None], counted: Counted, *beside: Coroutine[Any, Any, None]
    ) -> None:
        """Do *work*, with what runs *beside* it; stop at once where the client leaves, whatever is under way."""
        answering = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(exchange.disconnected())
        others = [asyncio.ensure_future(each) for each in beside]
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                counted.ending = "disconnected"
                answering.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await answering
                return
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
    return {"llamaforge-ignored": ", ".join(quote(name, safe="[]") for name in names[:32])}
