"""Conversations and answers as attributes: JSON of the conventions' shape."""

from __future__ import annotations

import json
from typing import Any

from llamaforge.messages import Message
from llamaforge.observers import ObservedRequest, RequestEnd


def input_messages(request: ObservedRequest) -> str | None:
    """``gen_ai.input.messages``; None without content."""
    if request.messages:
        return _json([_message(message) for message in request.messages])
    if request.prompt is not None:
        return _json([{"role": "user", "parts": [_text(request.prompt)]}])
    return None


def output_messages(end: RequestEnd) -> str | None:
    """``gen_ai.output.messages``; None without content."""
    if end.text is None:
        return None
    parts: list[dict[str, Any]] = []
    if end.reasoning:
        parts.append({"type": "reasoning", "content": end.reasoning})
    if end.text:
        parts.append(_text(end.text))
    parts += [_call(call) for call in end.tool_calls]
    return _json([{"role": "assistant", "parts": parts, "finish_reason": end.finish_reason or "error"}])


def _message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        parts = [{"type": "tool_call_response", "id": message.tool_call_id, "response": message.text}]
        return {"role": "tool", "parts": parts}
    parts = []
    if message.reasoning_content:
        parts.append({"type": "reasoning", "content": message.reasoning_content})
    if message.text:
        parts.append(_text(message.text))
    parts += [_call(call) for call in message.tool_calls]
    return {"role": message.role, "parts": parts}


def _text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def _call(call: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": call.id, "name": call.function.name, "arguments": call.function.arguments}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
