"""Responses after their request: computed in the background, fetched, cancelled, deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .dialects.response_writer import ResponseWriter
from .dialects.responses import AskedResponse, Responses
from .endpoint import ignored_header
from .errors import Problem, invalid, problem
from .exchange import Exchange
from .generation import Generation, read_answers
from .metrics import Counted
from .models import json_answer, refused
from .service import Service
from .store import Kept


class _Id(StringConvertor):
    """A response's id in a path, so that ``/v1/responses/compact`` isn't taken for one."""

    regex = "resp_[0-9A-Za-z_-]+"


register_url_convertor("response", _Id())

_PAGE = 20
"""Items of a list, where the client doesn't say how many."""


class ResponsesEndpoint(Generation):
    """``POST /v1/responses``."""

    def __init__(self, dialect: Responses, service: Service) -> None:
        super().__init__(dialect, service)
        self._responses = dialect
        self._background: set[asyncio.Task[None]] = set()

    async def respond(self, exchange: Exchange, body: dict[str, Any], counted: Counted) -> None:
        """Answer; in the background with the response as it stands."""
        if not body.get("background"):
            await super().respond(exchange, body, counted)
            return
        asked = self._responses.read(body)
        counted.asks_for(asked.model)
        counted.model = self.service.residency.entry(asked.model).name
        writer = self._responses.writer(asked)
        task = asyncio.ensure_future(self._compute(exchange, asked, writer))
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        writer.keep(task)
        await exchange.answer(writer.encoded(), headers=ignored_header(asked.ignored))

    async def _compute(self, exchange: Exchange, asked: AskedResponse, writer: ResponseWriter) -> None:
        try:
            with self.arriving(exchange) as arrival:
                if arrival is not None:
                    arrival.model = asked.model
                async with self.service.residency.lease(asked.model) as backend:
                    writer.whole(await read_answers(backend, asked))
        except asyncio.CancelledError:
            writer.cancelled()
            writer.keep()
            raise
        except Exception as error:  # noqa: BLE001 - whoever fetches it is told
            writer.failed(problem(error))
            writer.keep()


class StoredResponses:
    """``/v1/responses/{id}``."""

    def __init__(self, service: Service) -> None:
        self._store = service.responses
        self._voice = Responses(service.responses)

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/v1/responses/{id:response}", self._for(self.retrieve), methods=["GET"]),
            Route("/v1/responses/{id:response}", self._for(self.delete), methods=["DELETE"]),
            Route("/v1/responses/{id:response}/cancel", self._for(self.cancel), methods=["POST"]),
            Route("/v1/responses/{id:response}/input_items", self._for(self.input_items), methods=["GET"]),
        ]

    def retrieve(self, kept: Kept, request: Request) -> Any:
        """The response as it stands now."""
        if request.query_params.get("stream", "false").lower() == "true":
            raise invalid("stream isn't served here: fetch the response until its status is final.", "stream")
        return kept.response

    def delete(self, kept: Kept, request: Request) -> Any:
        """Forget it."""
        if kept.task is not None:
            kept.task.cancel()
        self._store.drop(kept.response["id"])
        return {"id": kept.response["id"], "object": "response.deleted", "deleted": True}

    def cancel(self, kept: Kept, request: Request) -> Any:
        """Stop computing it."""
        if not kept.response["background"]:
            raise invalid("Only responses that were asked for with background=true can be cancelled.", "id")
        if kept.task is not None and not kept.task.done():
            kept.task.cancel()
            kept.response["status"] = "cancelled"
        return kept.response

    def input_items(self, kept: Kept, request: Request) -> Any:
        """The items of its input, the last one first unless ``order`` is ``asc``."""
        query = request.query_params
        try:
            limit = int(query.get("limit", _PAGE))
        except ValueError:
            limit = 0
        if not 1 <= limit <= 100:
            raise invalid("limit must be from 1 to 100.", "limit")
        items = kept.input_items if query.get("order") == "asc" else kept.input_items[::-1]
        after = query.get("after")
        if after is not None:
            places = [place for place, item in enumerate(items) if item["id"] == after]
            if not places:
                raise invalid(f"There is no item {after!r}.", "after")
            items = items[places[0] + 1 :]
        page = [_as_output(item) for item in items[:limit]]
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return {"object": "list", "data": page, **ends, "has_more": len(items) > limit}

    def _for(self, answer: Callable[[Kept, Request], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            name = request.path_params["id"]
            kept = self._store.get(name)
            try:
                if kept is None:
                    raise Problem(404, "not_found", f"There is no response {name!r}.", "id")
                return json_answer(answer(kept, request))
            except Problem as found:
                return refused(self._voice, found)

        endpoint.__doc__ = answer.__doc__
        return endpoint


def _as_output(item: dict[str, Any]) -> dict[str, Any]:
    """An item as it is listed: the content of a message is a list of parts."""
    if item["type"] != "message":
        return item
    told = {"status": "completed", **item}
    if isinstance(item.get("content"), str):
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        part: dict[str, Any] = {"type": kind, "text": item["content"]}
        if kind == "output_text":
            part["annotations"] = []
        told["content"] = [part]
    return told
