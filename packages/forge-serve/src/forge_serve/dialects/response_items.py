"""Items of a response's input and output, and the turns of a conversation that they are."""

from __future__ import annotations

import secrets
from typing import Any, Final

from ..errors import invalid

_IDS: Final = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_TEXTS: Final = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


def item_id(kind: str) -> str:
    """A new id for an item of that kind."""
    return f"{_IDS.get(kind, 'item')}_{secrets.token_hex(16)}"


def turns_of(items: list[dict[str, Any]], ignored: list[str]) -> list[dict[str, Any]]:
    """The turns, in OpenAI's chat shape. An assistant's reasoning, text and the calls after them are one turn.

    Raises Problem for items of kinds that aren't served; adds those without effect to *ignored*.
    """
    turns: list[dict[str, Any]] = []
    thoughts: list[str] = []

    def add(turn: dict[str, Any]) -> None:
        if thoughts and turn["role"] == "assistant":
            turn["reasoning_content"] = "\n\n".join(thoughts)
        thoughts.clear()
        turns.append(turn)

    for place, item in enumerate(items):
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
            text = output if isinstance(output, str) else _joined(_parts(output, f"{where}.output"), where)
            add({"role": "tool", "tool_call_id": item.get("call_id"), "content": text})
        elif kind == "reasoning":
            text = _thought(item)
            (thoughts if text else ignored).append(text or where)
        else:
            raise invalid(f"{where} is an item of the type {kind!r}, which isn't served.", "input")
    return turns


def _thought(item: dict[str, Any]) -> str:
    """The text of a reasoning item; empty where the client has none, or only in encrypted form."""
    parts = item.get("content") or item.get("summary") or ()
    texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    return "".join(text for text in texts if isinstance(text, str))


def _message(item: dict[str, Any], where: str) -> dict[str, Any]:
    role, content = item.get("role"), item.get("content")
    if role not in ("user", "assistant", "system", "developer"):
        raise invalid(f"{where} has the role {role!r}; the roles are user, assistant, system and developer.", "input")
    if isinstance(content, str):
        return {"role": role, "content": content}
    parts = _parts(content, f"{where}.content")
    if all(part["type"] == "text" for part in parts):
        return {"role": role, "content": "".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise invalid(f"{where} must be a text or a list of parts.", "input")
    parts: list[dict[str, Any]] = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        field = _TEXTS.get(kind or "")
        if field is not None and isinstance(part.get(field), str):
            parts.append({"type": "text", "text": part[field]})
        elif kind == "input_image" and isinstance(part.get("image_url"), str):
            url = {"url": part["image_url"]} | ({"detail": part["detail"]} if part.get("detail") else {})
            parts.append({"type": "image_url", "image_url": url})
        else:
            raise invalid(f"{where}[{number}] is a part of the type {kind!r}, which isn't served.", "input")
    return parts


def _joined(parts: list[dict[str, Any]], where: str) -> str:
    if any(part["type"] != "text" for part in parts):
        raise invalid(f"{where}.output has parts that aren't text, which isn't served.", "input")
    return "".join(part["text"] for part in parts)
