"""OpenAI's Responses (https://platform.openai.com/docs/api-reference/responses), as Open Responses describes them
(https://www.openresponses.org/specification): reading requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from llamaforge.openai_objects import HOUSEKEEPING
from llamaforge.openai_responses import READ, read_request

from ..asked import Asked, needed, take
from ..errors import Problem, invalid
from ..store import Store
from .openai import OpenAIVoice
from .response_writer import ResponseWriter

if TYPE_CHECKING:
    from llamaforge.observers import Operation

_KNOWN: Final = READ | HOUSEKEEPING | {"model", "stream", "stream_options", "background", "previous_response_id"}
_REFUSED: Final = ("conversation", "prompt")


@dataclass(kw_only=True)
class AskedResponse(Asked):
    """A request, with what the answer repeats of it."""

    body: dict[str, Any] = field(default_factory=dict)
    items: list[dict[str, Any]] = field(default_factory=list)
    """The items of this request's input, each with its id."""
    earlier: list[dict[str, Any]] = field(default_factory=list)
    """The items of the conversation before."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    """The tools as the answer repeats them."""
    store: bool = True
    """Whether the answer is kept, so that a later request can go on from it."""
    background: bool = False
    """Whether the client fetches the answer later."""


class Responses(OpenAIVoice):
    """``POST /v1/responses``."""

    operation: ClassVar[Operation] = "chat"

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, body: dict[str, Any]) -> AskedResponse:
        """The request in *body*."""
        asked = AskedResponse(model=needed(body, "model", str, "a model's name"), body=body)
        asked.stream = take(body, "stream", bool, "true or false", False)
        asked.store = take(body, "store", bool, "true or false", True)
        asked.background = take(body, "background", bool, "true or false", False)
        if asked.background and (asked.stream or not asked.store):
            raise invalid("background isn't served together with stream, nor without store.", "background")
        for name in _REFUSED:
            if body.get(name) is not None:
                raise invalid(f"{name} isn't served; give the whole input, or previous_response_id.", name)
        asked.earlier = self._earlier(body)
        read = read_request(body, asked.earlier)
        asked.messages, asked.parameters = read.messages, read.parameters
        asked.items, asked.tools = read.items, read.tools
        asked.ignored = read.unread + read.ignored
        asked.take_others(body, _KNOWN)
        take(body, "metadata", dict, "an object")
        return asked

    def writer(self, asked: Asked) -> ResponseWriter:
        """What writes the answer."""
        return ResponseWriter(cast("AskedResponse", asked), self._store)

    def _earlier(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The items of the conversation that the request goes on from."""
        previous = take(body, "previous_response_id", str, "an id")
        if previous is None:
            return []
        kept = self._store.get(previous)
        if kept is None:
            what = f"There is no response {previous!r}: it was deleted, never stored, or made room for newer ones."
            raise Problem(404, "not_found", what, "previous_response_id", "previous_response_not_found")
        if kept.response["status"] not in ("completed", "incomplete"):
            raise invalid(f"The response {previous!r} is {kept.response['status']}.", "previous_response_id")
        return kept.items
