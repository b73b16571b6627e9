"""Anthropic's messages (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from llamaforge import GeneratedText
from llamaforge.results import Event, Finished, ReasoningDelta, TextDelta, ToolCallDelta, Usage

from .. import sse
from ..asked import PARAMETERS, Asked, inner_names, needed, take
from ..errors import Problem, invalid

if TYPE_CHECKING:
    from llamaforge.observers import Operation

_KNOWN: Final = frozenset(
    {"model", "messages", "system", "max_tokens", "stop_sequences", "stream", "tools", "tool_choice", "thinking"}
    | {"output_config", "output_format"}
)
_SILENT: Final = frozenset({"metadata", "service_tier"})
_REASONS: Final = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_DIRECT: Final = {"type": "direct"}
_KINDS: Final = {
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "invalid_request": "invalid_request_error",
    "too_large": "request_too_large",
    "overloaded": "overloaded_error",
    "unavailable": "overloaded_error",
    "timeout": "timeout_error",
}


class Messages:
    """``POST /v1/messages``."""

    operation: ClassVar[Operation] = "chat"

    name = "anthropic"

    def read(self, body: dict[str, Any]) -> Asked:
        """The request in *body*."""
        asked = Asked(model=needed(body, "model", str, "a model's name"))
        asked.stream = take(body, "stream", bool, "true or false", False)
        asked.parameters["max_tokens"] = needed(body, "max_tokens", int, "a whole number")
        asked.messages = read_turns(body, asked)
        stops = take(body, "stop_sequences", list, "a list of texts")
        if stops:
            asked.parameters["stop"] = stops
        _tools(body, asked)
        asked.take_others(body, _KNOWN | _SILENT)
        _format(body, asked)
        thinking = take(body, "thinking", dict, "an object")
        if thinking is not None and thinking.get("type") not in ("enabled", "adaptive", "disabled"):
            raise invalid("thinking.type must be enabled, adaptive or disabled.", "thinking")
        if thinking is not None and thinking["type"] == "disabled":
            asked.parameters.setdefault("reasoning_effort", "none")
        elif thinking is not None and thinking.get("budget_tokens") is not None:
            asked.parameters.setdefault("max_reasoning_tokens", thinking["budget_tokens"])
        return asked

    def writer(self, asked: Asked) -> MessageWriter:
        """What writes the answer."""
        return MessageWriter(asked)

    def error(self, problem: Problem) -> bytes:
        """``{"type": "error", "error": {"type", "message"}}``."""
        return sse.encode(_error(problem))


def read_turns(body: dict[str, Any], asked: Asked) -> list[dict[str, Any]]:
    """System prompt and messages as turns in OpenAI's shape."""
    turns: list[dict[str, Any]] = []
    system = body.get("system")
    if system:
        turns.append({"role": "system", "content": _text(system, "system")})
    for place, message in enumerate(needed(body, "messages", list, "a list of messages")):
        where = f"messages[{place}]"
        if not isinstance(message, dict):
            raise invalid(f"{where} must be an object.", "messages")
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant", "system"):
            raise invalid(f"{where} has the role {role!r}; the roles are user and assistant.", "messages")
        if isinstance(content, str):
            turns.append({"role": role, "content": content})
        elif isinstance(content, list):
            turns += _blocks(role, content, where, asked)
        else:
            raise invalid(f"{where}.content must be a text or a list of blocks.", "messages")
    return turns


def _blocks(role: str, blocks: list[Any], where: str, asked: Asked) -> list[dict[str, Any]]:
    """The turns that one message's blocks make: results of tools are turns of their own."""
    turns: list[dict[str, Any]] = []
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[str] = []

    def flush() -> None:
        if texts or calls:
            turn: dict[str, Any] = {"role": role, "content": "".join(texts) or None}
            if thoughts and role == "assistant":
                turn["reasoning_content"] = "\n\n".join(thoughts)
            if calls:
                turn["tool_calls"] = [*calls]
            turns.append(turn)
            texts.clear()
            calls.clear()
            thoughts.clear()

    for number, block in enumerate(blocks):
        place = f"{where}.content[{number}]"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            texts.append(_text([block], place))
        elif kind == "tool_use":
            arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result":
            flush()
            content = _text(block.get("content") or "", place)
            turns.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": content})
        elif kind == "thinking" and isinstance(block.get("thinking"), str):
            thoughts.append(block["thinking"])
        elif kind in ("thinking", "redacted_thinking"):
            asked.ignored.append(place)
        else:
            raise invalid(f"{place} is a block of the type {kind!r}, which isn't served.", "messages")
    flush()
    return turns


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise invalid(f"{where} must be a text or a list of text blocks.", where)
    for block in content:
        if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
            kind = block.get("type") if isinstance(block, dict) else block
            raise invalid(f"{where} has a block of the type {kind!r}; only text is served there.", where)
    return "".join(block["text"] for block in content)


def _tools(body: dict[str, Any], asked: Asked) -> None:
    tools = take(body, "tools", list, "a list of tools")
    choice = take(body, "tool_choice", dict, "an object")
    kind = choice.get("type") if choice is not None else None
    if not tools:
        if kind in ("any", "tool"):
            raise invalid("tool_choice needs tools.", "tool_choice")
        return
    asked.parameters["tools"] = [_tool(tool, place) for place, tool in enumerate(tools)]
    if choice is None:
        return
    if kind == "tool":
        asked.parameters["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif kind in ("auto", "any", "none"):
        asked.parameters["tool_choice"] = {"any": "required"}.get(kind, kind)
    else:
        raise invalid("tool_choice.type must be auto, any, tool or none.", "tool_choice")
    if choice.get("disable_parallel_tool_use") is not None:
        if "parallel_tool_calls" in PARAMETERS:
            asked.parameters["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
        else:
            asked.ignored.append("tool_choice.disable_parallel_tool_use")


def _format(body: dict[str, Any], asked: Asked) -> None:
    """``output_config.format``, and its older name ``output_format``: the schema of a structured answer."""
    config = take(body, "output_config", dict, "an object", {})
    asked.ignored += inner_names("output_config", config, {"format"})
    name = "output_config.format" if config.get("format") is not None else "output_format"
    form = take({name: config.get("format") or body.get("output_format")}, name, dict, "an object")
    if form is None:
        return
    if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
        raise invalid(f"{name} must have the type json_schema, and a schema.", name)
    described = {"name": "answer", "schema": form["schema"], "strict": True}
    asked.parameters["response_format"] = {"type": "json_schema", "json_schema": described}


def _tool(tool: Any, place: int) -> dict[str, Any]:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str) or "input_schema" not in tool:
        kind = tool.get("type") if isinstance(tool, dict) else None
        said = f"is of the type {kind!r}, which isn't served" if kind else "needs a name and an input_schema"
        raise invalid(f"tools[{place}] {said}.", "tools")
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    if tool.get("description"):
        function["description"] = tool["description"]
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


class MessageWriter:
    """A message, as blocks."""

    content_type = sse.CONTENT_TYPE

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._id = f"msg_{secrets.token_hex(12)}"
        self._index = -1
        self._open: str | None = None

    def start(self) -> bytes:
        """What comes before everything else."""
        message = self._message([], None, None, None)
        return sse.named("message_start", {"type": "message_start", "message": message})

    def ping(self) -> bytes:
        """A sign of life."""
        return sse.named("ping", {"type": "ping"})

    def event(self, choice: int, event: Event) -> bytes:
        """A piece of the answer, or its end."""
        if isinstance(event, TextDelta):
            if not event.text:
                return b""
            begun = self._begin("text", {"type": "text", "text": "", "citations": None})
            return begun + self._delta({"type": "text_delta", "text": event.text})
        if isinstance(event, ReasoningDelta):
            begun = self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            return begun + self._delta({"type": "thinking_delta", "thinking": event.text})
        if isinstance(event, ToolCallDelta):
            begun = b""
            if event.id:
                block = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}, "caller": _DIRECT}
                begun = self._close() + self._begin("tool_use", block)
            return begun + self._delta({"type": "input_json_delta", "partial_json": event.arguments})
        return self._close() + self._end(event)

    def end(self) -> bytes:
        """What comes after everything else."""
        return sse.named("message_stop", {"type": "message_stop"})

    def failure(self, problem: Problem) -> bytes:
        """An error amid the stream."""
        return sse.named("error", _error(problem))

    def whole(self, answers: list[GeneratedText]) -> bytes:
        """The answer in one piece."""
        answer = answers[0]
        blocks: list[dict[str, Any]] = []
        if answer.reasoning:
            blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": ""})
        if answer.text:
            blocks.append({"type": "text", "text": answer.text, "citations": None})
        for call in answer.tool_calls:
            read = _arguments(call.function.arguments)
            block = {"type": "tool_use", "id": call.id, "name": call.function.name, "input": read, "caller": _DIRECT}
            blocks.append(block)
        reason = _reason(answer.finish_reason, answer.stop)
        return sse.encode(self._message(blocks, reason, answer.stop, answer.usage))

    def _message(
        self, blocks: list[dict[str, Any]], reason: str | None, stop: str | None, usage: Usage | None
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._asked.model,
            "content": blocks,
            "stop_reason": reason,
            "stop_sequence": stop,
            "stop_details": None,
            "container": None,
            "usage": _usage(usage),
        }

    def _begin(self, kind: str, block: dict[str, Any]) -> bytes:
        if self._open == kind:
            return b""
        closed = self._close()
        self._index += 1
        self._open = kind
        begun = {"type": "content_block_start", "index": self._index, "content_block": block}
        return closed + sse.named("content_block_start", begun)

    def _delta(self, delta: dict[str, Any]) -> bytes:
        whole = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return sse.named("content_block_delta", whole)

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return sse.named("content_block_stop", {"type": "content_block_stop", "index": self._index})

    def _end(self, end: Finished) -> bytes:
        delta = {"stop_reason": _reason(end.finish_reason, end.stop), "stop_sequence": end.stop}
        whole = {"type": "message_delta", "delta": delta, "usage": _usage(end.usage)}
        return sse.named("message_delta", whole)


def _reason(finish_reason: str, stop: str | None) -> str:
    if stop is not None:
        return "stop_sequence"
    return _REASONS.get(finish_reason, "end_turn")


def _arguments(text: str) -> Any:
    try:
        return msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {}


def _usage(usage: Usage | None) -> dict[str, Any]:
    cached = usage.cached_tokens if usage is not None else 0
    thinking = usage.reasoning_tokens if usage is not None else 0
    return {
        "input_tokens": usage.prompt_tokens - cached if usage is not None else 0,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "cache_creation": None,
        "output_tokens": usage.completion_tokens if usage is not None else 0,
        "output_tokens_details": {"thinking_tokens": thinking},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": None,
    }


def _error(problem: Problem) -> dict[str, Any]:
    kind = _KINDS.get(problem.kind, "api_error")
    return {"type": "error", "error": {"type": kind, "message": problem.message}}
