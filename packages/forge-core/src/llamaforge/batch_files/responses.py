"""OpenAI's responses (https://platform.openai.com/docs/api-reference/responses): requests read, answers written."""

from __future__ import annotations

import secrets
import time
from typing import Any, Final

from ..errors import InvalidParameterError, UnsupportedError
from ..openai_objects import logprob_object, response_usage
from ..results import GeneratedText

_TEXTS: Final = frozenset({"input_text", "output_text", "text"})
_LOGPROBS: Final = "message.output_text.logprobs"
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


def read_input(given: Any, instructions: Any) -> list[dict[str, Any]]:
    """The conversation that ``input`` and ``instructions`` are. Raises a RequestError."""
    messages: list[dict[str, Any]] = []
    if instructions is not None:
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        raise InvalidParameterError("input", None, "a text, or a list of items", show_value=False)
    for index, item in enumerate(given):
        _read_item(item, f"input[{index}]", messages)
    return messages


def _read_item(item: Any, place: str, messages: list[dict[str, Any]]) -> None:
    kind = item.get("type", "message") if isinstance(item, dict) else None
    if kind == "message":
        messages.append({"role": item.get("role"), "content": _content(item.get("content"), place)})
    elif kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        if messages and messages[-1]["role"] == "assistant":
            messages[-1].setdefault("tool_calls", []).append(call)
        else:
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
    elif kind == "function_call_output":
        output = _content(item.get("output"), place)
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
    elif kind != "reasoning":  # a model's thoughts are no part of the conversation
        expected = "a message, function_call, function_call_output or reasoning"
        raise InvalidParameterError(place, kind, expected)


def _content(content: Any, place: str) -> Any:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidParameterError(f"{place}.content", None, "a text, or a list of parts", show_value=False)
    parts = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _TEXTS:
            parts.append({"type": "text", "text": part.get("text")})
        elif kind == "input_image" and isinstance(part.get("image_url"), str):
            parts.append({"type": "image_url", "image_url": {"url": part["image_url"]}})
        else:
            raise InvalidParameterError(f"{place}.content[{index}]", kind, "input_text, output_text or input_image")
    if all(part["type"] == "text" for part in parts):
        return "".join(str(part["text"]) for part in parts)
    return parts


def read_options(fields: dict[str, Any]) -> dict[str, Any]:
    """The generation parameters in the other *fields* of a request. Raises a RequestError."""
    for name in ("previous_response_id", "conversation", "prompt"):
        if name in fields:
            raise refused(f"the field {name}", "Put the whole conversation into input.")
    parameters = dict(fields)
    parameters.pop("background", None)  # a batch is one
    included, top = _taken(parameters, "include", list, "a list of names"), parameters.pop("top_logprobs", None)
    if included and _LOGPROBS in included:
        parameters |= {"logprobs": True, "top_logprobs": 0 if top is None else top}
    if "max_output_tokens" in parameters:
        parameters["max_tokens"] = parameters.pop("max_output_tokens")
    text = _taken(parameters, "text", dict, "an object")
    shape = _taken(text, "format", dict, "an object with a type", "text.format")
    if shape.get("type") == "json_schema":
        inner = {name: value for name, value in shape.items() if name != "type"}
        parameters["response_format"] = {"type": "json_schema", "json_schema": inner}
    elif shape and shape.get("type") != "text":
        parameters["response_format"] = shape
    effort = _taken(parameters, "reasoning", dict, "an object").get("effort")
    if effort is not None:
        parameters["reasoning_effort"] = effort
    tools = _taken(parameters, "tools", list, "a list of tools")
    if tools:
        parameters["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    choice = parameters.get("tool_choice")
    if isinstance(choice, dict) and "name" in choice:
        parameters["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
    if not tools:  # clients send these without tools, too
        parameters.pop("parallel_tool_calls", None)
        if parameters.get("tool_choice") in ("auto", "none"):
            del parameters["tool_choice"]
    return parameters


def _taken(fields: dict[str, Any], name: str, kind: type, expected: str, place: str = "") -> Any:
    """The field *name*, taken out of *fields*; an empty one where it is missing. Raises InvalidParameterError."""
    value = fields.pop(name, None)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise InvalidParameterError(place or name, value, expected)
    return value


def refused(what: str, advice: str = "") -> UnsupportedError:
    """The error for *what* rows of a batch can't ask for."""
    message = f"A batch does not support {what}."
    return UnsupportedError(what, "batch", message=f"{message} {advice}" if advice else message)


def _tool(tool: Any, place: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or "type" not in tool:
        raise InvalidParameterError(place, tool, "an object with the type function, a name and parameters")
    if tool["type"] != "function":
        raise refused(f"{place} of type {tool['type']!r}", "Only functions can be called.")
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def response_body(answer: GeneratedText, model: str) -> dict[str, Any]:
    """The response that *answer* is."""
    output: list[dict[str, Any]] = []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": answer.reasoning}]
        output.append({"type": "reasoning", "id": _id("rs"), "summary": summary})
    if answer.text or not answer.tool_calls:
        logprobs = [logprob_object(each) for each in answer.logprobs]
        content = [{"type": "output_text", "text": answer.text, "annotations": [], "logprobs": logprobs}]
        output.append(
            {"type": "message", "id": _id("msg"), "status": "completed", "role": "assistant", "content": content}
        )
    output += [
        {
            "type": "function_call",
            "id": _id("fc"),
            "call_id": call.id,
            "name": call.function.name,
            "arguments": call.function.arguments,
            "status": "completed",
        }
        for call in answer.tool_calls
    ]
    reason = _INCOMPLETE.get(answer.finish_reason)
    return {
        "id": _id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if reason else "completed",
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": model,
        "output": output,
        "usage": response_usage(answer.usage),
    }


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"
