"""OpenAI's Responses (https://platform.openai.com/docs/api-reference/responses), as Open Responses describes them
(https://www.openresponses.org/specification): reading requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from ..asked import Asked, inner_names, needed, take
from ..errors import Problem, invalid
from ..store import Store
from .openai import OpenAIVoice
from .response_items import item_id, turns_of
from .response_writer import ResponseWriter

if TYPE_CHECKING:
    from llamaforge.observers import Operation

_KNOWN: Final = frozenset(
    {"model", "input", "instructions", "stream", "stream_options", "tools", "tool_choice", "max_output_tokens", "text"}
    | {"reasoning", "store", "background", "previous_response_id", "include", "metadata", "top_logprobs"}
    | {"parallel_tool_calls"}
)
_SILENT: Final = frozenset({"user", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"})
_REFUSED: Final = ("conversation", "prompt")
_FUNCTION: Final = "function"
_LOGPROBS: Final = "message.output_text.logprobs"


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
        asked.items = _items(body)
        asked.messages = self._turns(body, asked)
        _read_tools(body, asked)
        _read_format(body, asked)
        asked.take_others(body, _KNOWN | _SILENT)
        limit = take(body, "max_output_tokens", int, "a whole number")
        if limit is not None:
            asked.parameters["max_tokens"] = limit
        take(body, "metadata", dict, "an object")
        wanted = take(body, "include", list, "a list of names", [])
        if _LOGPROBS in wanted:
            asked.parameters |= {"logprobs": True, "top_logprobs": body.get("top_logprobs") or 0}
        elif body.get("top_logprobs"):
            asked.ignored.append("top_logprobs")
        asked.ignored += [f"include[{place}]" for place, name in enumerate(wanted) if name != _LOGPROBS]
        return asked

    def writer(self, asked: Asked) -> ResponseWriter:
        """What writes the answer."""
        return ResponseWriter(cast("AskedResponse", asked), self._store)

    def _turns(self, body: dict[str, Any], asked: AskedResponse) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = []
        instructions = take(body, "instructions", str, "a text")
        if instructions:
            turns.append({"role": "system", "content": instructions})
        previous = take(body, "previous_response_id", str, "an id")
        earlier: list[dict[str, Any]] = []
        if previous is not None:
            kept = self._store.get(previous)
            if kept is None:
                what = f"There is no response {previous!r}: it was deleted, never stored, or made room for newer ones."
                raise Problem(404, "not_found", what, "previous_response_id", "previous_response_not_found")
            if kept.response["status"] not in ("completed", "incomplete"):
                raise invalid(f"The response {previous!r} is {kept.response['status']}.", "previous_response_id")
            earlier = kept.items
        asked.earlier = earlier
        return turns + turns_of([*earlier, *asked.items], asked.ignored)


def _items(body: dict[str, Any]) -> list[dict[str, Any]]:
    given = body.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise invalid("input must be a text, or a list of items.", "input")
    items = []
    for place, item in enumerate(given):
        if not isinstance(item, dict):
            raise invalid(f"input[{place}] must be an object.", "input")
        kind = item.get("type", "message")
        items.append({**item, "type": kind, "id": item.get("id") or item_id(str(kind))})
    return items


def _read_tools(body: dict[str, Any], asked: AskedResponse) -> None:
    tools: list[dict[str, Any]] = []
    for place, tool in enumerate(take(body, "tools", list, "a list of tools", [])):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind is None or (kind == _FUNCTION and not isinstance(tool.get("name"), str)):
            raise invalid(f"tools[{place}] needs a type and a name.", "tools")
        if kind != _FUNCTION:  # agents offer tools of the provider's to every server; the model does without them
            asked.ignored.append(f"tools[{place}]")
            continue
        names = ("name", "description", "parameters", "strict")
        tools.append(
            {"type": "function", "function": {name: tool[name] for name in names if tool.get(name) is not None}}
        )
        asked.tools.append({"type": "function"} | {name: tool.get(name) for name in names})
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        named = needed(choice, "tools", list, "a list of tools")
        allowed = [each.get("name") for each in named if isinstance(each, dict)]
        tools = [tool for tool in tools if tool["function"]["name"] in allowed]
        choice = choice.get("mode", "auto")
    if tools:
        asked.parameters["tools"] = tools
    if isinstance(choice, dict):
        if choice.get("type") != _FUNCTION:
            raise invalid(f"tool_choice of the type {choice.get('type')!r} isn't served.", "tool_choice")
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    if choice is not None and (tools or choice not in ("auto", "none")):
        asked.parameters["tool_choice"] = choice
    if tools and body.get("parallel_tool_calls") is not None:  # clients send it without tools, too
        asked.parameters["parallel_tool_calls"] = body["parallel_tool_calls"]


def _read_format(body: dict[str, Any], asked: AskedResponse) -> None:
    text = take(body, "text", dict, "an object", {})
    form = text.get("format")
    kind = form.get("type") if isinstance(form, dict) else form
    if kind == "json_schema":
        described = {name: value for name, value in form.items() if name != "type" and value is not None}
        asked.parameters["response_format"] = {"type": "json_schema", "json_schema": described}
    elif kind == "json_object":
        asked.parameters["response_format"] = {"type": "json_object"}
    elif kind not in (None, "text"):
        raise invalid(f"text.format of the type {kind!r} isn't served.", "text.format")
    reasoning = take(body, "reasoning", dict, "an object", {})
    asked.ignored += inner_names("text", text, {"format"}) + inner_names("reasoning", reasoning, {"effort", "summary"})
    effort = reasoning.get("effort")
    if effort is not None:
        asked.parameters["reasoning_effort"] = effort
