"""Endpoints whose answer is one piece: vectors, rankings, tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from . import sse
from .asked import Voice, Work, WorkDialect, seconds_of
from .endpoint import Endpoint, deadline, ignored_header
from .exchange import Exchange
from .metrics import Counted
from .service import Service


class Working(Endpoint):
    """An endpoint that does one piece of work, in one dialect."""

    def __init__(self, dialect: WorkDialect, service: Service) -> None:
        super().__init__(dialect, service, dialect.operation)
        self._dialect = dialect

    async def respond(self, exchange: Exchange, body: dict[str, Any], counted: Counted) -> None:
        """Do it, and answer."""
        work = self._dialect.read(body)
        counted.asks_for(work.model)
        counted.model = self.service.residency.entry(work.model).name
        await self.watched(exchange, self._work(exchange, work), counted)

    async def _work(self, exchange: Exchange, work: Work) -> None:
        timeout = deadline(exchange)
        async with self.service.residency.lease(work.model, seconds_of(work.keep_alive)) as backend:
            content = await work.run(backend, timeout)
        await exchange.answer(content, headers=ignored_header(work.ignored))


class Answering(Endpoint):
    """An endpoint whose answer is JSON that a function makes of the body.

    Args:
        voice: the dialect in which errors are told.
        service: the models, and what belongs to them.
        answer: makes it.
    """

    def __init__(self, voice: Voice, service: Service, answer: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
        super().__init__(voice, service)
        self.answer = answer

    async def respond(self, exchange: Exchange, body: dict[str, Any], counted: Counted) -> None:
        """Make it, and answer."""
        await self.watched(exchange, self._told(exchange, body), counted)

    async def _told(self, exchange: Exchange, body: dict[str, Any]) -> None:
        await exchange.answer(sse.encode(await self.answer(body)))
