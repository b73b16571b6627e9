"""OpenAI's Responses (https://platform.openai.com/docs/api-reference/responses), as Open Responses describes them
(https://www.openresponses.org/specification): requests read, answers written. Batches and servers share it, so that a
request means the same to both."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from .errors import ConflictingParametersError, InvalidParameterError
from .openai_objects import logprob_object, response_usage
from .results import GeneratedText, Usage

READ: Final = frozenset(
    {"input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "include"}
    | {"top_logprobs", "max_output_tokens"}
)
"""The fields that :func:`read_request` reads."""
_ROLES: Final = ("user", "assistant", "system", "developer")
_IDS: Final = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_TEXTS: Final = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
_TOOL_FIELDS: Final = ("name", "description", "parameters", "strict")
_LOGPROBS: Final = "message.output_text.logprobs"
_OTHER_NAMES: Final = {
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "logprobs": "include",
}
"""Parameters that a request may have by their own names, too, and where they are in one for a response."""
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_REPEATED: Final[Mapping[str, Any]] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "instructions": None,
    "previous_response_id": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
    "user": None,
}
"""Fields of the request that the answer repeats, with what they are where the request has none."""


class ResponseRequest(msgspec.Struct):
    """What a request for a response asks for."""

    messages: list[dict[str, Any]] = msgspec.field(default_factory=list)
    """The conversation, in the shape of chat completions."""
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    """The generation parameters in the fields of :data:`READ`."""
    items: list[dict[str, Any]] = msgspec.field(default_factory=list)
    """The items of the input, each with its type and an id."""
    tools: list[dict[str, Any]] = msgspec.field(default_factory=list)
    """The functions, as the answer repeats them."""
    unread: list[str] = msgspec.field(default_factory=list)
    """Items of the input that have nothing for a model: reasoning without a text."""
    ignored: list[str] = msgspec.field(default_factory=list)
    """Fields that mean nothing here."""


def read_request(body: Mapping[str, Any], earlier: Sequence[dict[str, Any]] = ()) -> ResponseRequest:
    """The fields :data:`READ` of *body*, after the items *earlier* of its conversation.

    Raises InvalidParameterError, or ConflictingParametersError for what is said twice and differs.
    """
    asked = ResponseRequest(items=_items(body.get("input")))
    instructions = _take(body, "instructions", str, "a text")
    if instructions:
        asked.messages.append({"role": "system", "content": instructions})
    asked.messages += _turns(earlier, asked.items, asked.unread)
    _read_tools(body, asked)
    _read_text(body, asked)
    limit = _take(body, "max_output_tokens", int, "a whole number")
    if limit is not None:
        asked.parameters["max_tokens"] = limit
    wanted = _take(body, "include", list, "a list of names") or []
    if _LOGPROBS in wanted:
        asked.parameters |= {"logprobs": True, "top_logprobs": body.get("top_logprobs") or 0}
    elif body.get("top_logprobs"):
        asked.ignored.append("top_logprobs")
    asked.ignored += [f"include[{place}]" for place, name in enumerate(wanted) if name != _LOGPROBS]
    for name, other in _OTHER_NAMES.items():
        if name in asked.parameters and body.get(name) not in (None, asked.parameters[name]):
            raise ConflictingParametersError([name, other])
    return asked


def item_id(kind: str) -> str:
    """A new id for an item of that kind."""
    return f"{_IDS.get(kind, 'item')}_{secrets.token_hex(16)}"


def _take(body: Mapping[str, Any], name: str, kind: type, expected: str) -> Any:
    """A field, which must be of that kind; None where it is missing."""
    value = body.get(name)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise InvalidParameterError(name, value, expected)
    return value


def _items(given: Any) -> list[dict[str, Any]]:
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise InvalidParameterError("input", None, "a text, or a list of items", show_value=False)
    items = []
    for place, item in enumerate(given):
        if not isinstance(item, dict):
            raise InvalidParameterError(f"input[{place}]", item, "an object")
        kind = item.get("type", "message")
        items.append({**item, "type": kind, "id": item.get("id") or item_id(str(kind))})
    return items


def _turns(
    earlier: Sequence[dict[str, Any]], items: Iterable[dict[str, Any]], unread: list[str]
) -> list[dict[str, Any]]:
    """The turns. An assistant's reasoning, text and the calls after them are one turn."""
    turns: list[dict[str, Any]] = []
    thoughts: list[str] = []

    def add(turn: dict[str, Any]) -> None:
        if thoughts and turn["role"] == "assistant":
            turn["reasoning_content"] = "\n\n".join(thoughts)
        thoughts.clear()
        turns.append(turn)

    for place, item in enumerate([*earlier, *items], -len(earlier)):
        where, kind = f"input[{place}]", item["type"]
        if kind == "message":
            add(_message(item, where))
        elif kind == "function_call":
            call = {"name": item.get("name"), "arguments": item.get("arguments", "")}
            made = {"id": item.get("call_id"), "type": "function", "function": call}
            if turns and turns[-1]["role"] == "assistant" and not thoughts:
                turns[-1].setdefault("tool_calls", []).append(made)
            else:
                add({"role": "assistant", "content": None, "tool_calls": [made]})
        elif kind == "function_call_output":
            output = item.get("output")
            text = output if isinstance(output, str) else _only_text(output, f"{where}.output")
            add({"role": "tool", "tool_call_id": item.get("call_id"), "content": text})
        elif kind == "reasoning":
            text = _thought(item)
            if text:
                thoughts.append(text)
            elif place >= 0:
                unread.append(where)
        else:
            raise InvalidParameterError(where, kind, "a message, function_call, function_call_output or reasoning")
    return turns


def _thought(item: dict[str, Any]) -> str:
    """The text of a reasoning item; empty where the client has none, or only in encrypted form."""
    parts = item.get("content") or item.get("summary") or ()
    texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return "".join(text for text in texts if isinstance(text, str))


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    role, content = item.get("role"), item.get("content")
    if role not in _ROLES:
        raise InvalidParameterError(f"the role of {where}", role, f"one of {', '.join(_ROLES)}")
    if isinstance(content, str):
        return {"role": role, "content": content}
    parts = _parts(content, f"{where}.content")
    if all(part["type"] == "text" for part in parts):
        return {"role": role, "content": "".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise InvalidParameterError(where, content, "a text, or a list of parts")
    parts: list[dict[str, Any]] = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        field = _TEXTS.get(kind) if isinstance(kind, str) else None
        if field is not None and isinstance(part.get(field), str):
            parts.append({"type": "text", "text": part[field]})
        elif kind == "input_image" and isinstance(part.get("image_url"), str):
            url = {"url": part["image_url"]} | ({"detail": part["detail"]} if part.get("detail") else {})
            parts.append({"type": "image_url", "image_url": url})
        else:
            expected = f"a part with its text ({', '.join(_TEXTS)}), or an input_image with an image_url"
            raise InvalidParameterError(f"{where}[{number}]", part, expected)
    return parts


def _only_text(content: Any, where: str) -> str:
    parts = _parts(content, where)
    if any(part["type"] != "text" for part in parts):
        raise InvalidParameterError(where, None, "text: a function's output can't have images here", show_value=False)
    return "".join(part["text"] for part in parts)


def _read_tools(body: Mapping[str, Any], asked: ResponseRequest) -> None:
    tools: list[dict[str, Any]] = []
    for place, tool in enumerate(_take(body, "tools", list, "a list of tools") or []):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind is None or (kind == "function" and not isinstance(tool.get("name"), str)):
            raise InvalidParameterError(f"tools[{place}]", tool, "an object with a type, and a function with a name")
        if kind != "function":  # agents offer tools of the provider's to every server
            asked.ignored.append(f"tools[{place}]")
            continue
        function = {name: tool[name] for name in _TOOL_FIELDS if tool.get(name) is not None}
        tools.append({"type": "function", "function": function})
        asked.tools.append({"type": "function"} | {name: tool.get(name) for name in _TOOL_FIELDS})
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        named = choice.get("tools")
        if not isinstance(named, list):
            raise InvalidParameterError("tool_choice.tools", named, "a list of tools")
        allowed = [each.get("name") for each in named if isinstance(each, dict)]
        tools = [tool for tool in tools if tool["function"]["name"] in allowed]
        choice = choice.get("mode", "auto")
    if tools:
        asked.parameters["tools"] = tools
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise InvalidParameterError("tool_choice.type", choice.get("type"), "function or allowed_tools")
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    if choice is not None and (tools or choice not in ("auto", "none")):
        asked.parameters["tool_choice"] = choice
    if tools and body.get("parallel_tool_calls") is not None:  # clients send it without tools, too
        asked.parameters["parallel_tool_calls"] = body["parallel_tool_calls"]


def _read_text(body: Mapping[str, Any], asked: ResponseRequest) -> None:
    """The shape of the answer, and how much thought goes before it."""
    text = _take(body, "text", dict, "an object") or {}
    form = text.get("format")
    if form is not None and not isinstance(form, dict):
        raise InvalidParameterError("text.format", form, "an object with a type")
    kind = None if form is None else form.get("type")
    if form is not None and kind == "json_schema":
        described = {name: value for name, value in form.items() if name != "type" and value is not None}
        asked.parameters["response_format"] = {"type": "json_schema", "json_schema": described}
    elif kind == "json_object":
        asked.parameters["response_format"] = {"type": "json_object"}
    elif form is not None and kind != "text":
        raise InvalidParameterError("text.format.type", kind, "text, json_object or json_schema")
    reasoning = _take(body, "reasoning", dict, "an object") or {}
    for outer, fields, known in (("text", text, ("format",)), ("reasoning", reasoning, ("effort", "summary"))):
        asked.ignored += [f"{outer}.{name}" for name, said in fields.items() if name not in known and said is not None]
    if reasoning.get("effort") is not None:
        asked.parameters["reasoning_effort"] = reasoning["effort"]


def begin_response(
    body: Mapping[str, Any],
    model: str,
    tools: Sequence[dict[str, Any]],
    *,
    store: bool = False,
    background: bool = False,
) -> dict[str, Any]:
    """The response to the request *body*, without output so far."""
    reasoning, form = body.get("reasoning") or {}, (body.get("text") or {}).get("format") or {"type": "text"}
    if form.get("type") == "json_schema":
        form = {"description": None, "strict": False, **form}
    return {
        "id": f"resp_{secrets.token_hex(24)}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": background,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "text": {"format": form},
        "tools": list(tools),
        "tool_choice": body.get("tool_choice") or "auto",
        "truncation": body.get("truncation") or "disabled",
        "store": store,
        "service_tier": "default",
        "metadata": body.get("metadata") or {},
        **{name: body[name] if body.get(name) is not None else default for name, default in _REPEATED.items()},
    }


def end_response(
    response: dict[str, Any],
    output: list[dict[str, Any]],
    finish_reason: str,
    usage: Usage | None,
    parameters: Mapping[str, Any],
) -> None:
    """The response has this output, and is complete. *parameters* are those that were in effect."""
    cut = _INCOMPLETE.get(finish_reason)
    response |= {name: value for name, value in parameters.items() if name in _REPEATED and value is not None}
    response["status"] = "incomplete" if cut else "completed"
    response["incomplete_details"] = {"reason": cut} if cut else None
    response["completed_at"] = None if cut else int(time.time())
    response["output"] = output
    response["usage"] = response_usage(usage)


def output_items(answer: GeneratedText, *, summarize: bool) -> list[dict[str, Any]]:
    """The items of a whole answer; *summarize*: whether the client asks for a summary of the reasoning."""
    items = []
    if answer.reasoning:
        items.append(reasoning_item(item_id("reasoning"), answer.reasoning, summarize=summarize))
    if answer.text or not (answer.reasoning or answer.tool_calls):
        logprobs = [logprob_object(each) for each in answer.logprobs]
        items.append(message_item(item_id("message"), answer.text, logprobs))
    items += [
        call_item(item_id("function_call"), call.id, call.function.name, call.function.arguments)
        for call in answer.tool_calls
    ]
    return items


def summarizes(body: Mapping[str, Any]) -> bool:
    """Whether the request asks for a summary of the reasoning."""
    return bool((body.get("reasoning") or {}).get("summary"))


def reasoning_item(name: str, text: str, *, summarize: bool) -> dict[str, Any]:
    """Reasoning. A model writes no summary of it: who asks for one gets the reasoning itself."""
    summary = [{"type": "summary_text", "text": text}] if summarize and text else []
    content = [{"type": "reasoning_text", "text": text}] if text and not summarize else []
    return {"type": "reasoning", "id": name, "summary": summary, "content": content, "encrypted_content": None}


def message_item(
    name: str, text: str, logprobs: Sequence[dict[str, Any]] = (), status: str = "completed"
) -> dict[str, Any]:
    """A message of the model's."""
    content = [text_part(text, logprobs)]
    return {"type": "message", "id": name, "status": status, "role": "assistant", "content": content}


def text_part(text: str, logprobs: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The text in a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def call_item(name: str, call_id: str, function: str, arguments: str, status: str = "completed") -> dict[str, Any]:
    """A call of a function."""
    told = {"type": "function_call", "id": name, "call_id": call_id, "name": function, "arguments": arguments}
    return {**told, "status": status}
