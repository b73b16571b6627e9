"""Tools, calls and results as ordinary turns, for templates that can't show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ..messages import Message, TextPart
from .output_format import CallFormat
from .values import to_json
from .writing import write_calls

_EXAMPLE: Final = ("function_name", {"argument": "value"})


def describe_tools(form: CallFormat, tools: Sequence[Mapping[str, Any]], *, single: bool) -> str:
    """What a system turn says of *tools*, and of how to call them."""
    functions = "\n".join(to_json(tool.get("function", tool)) for tool in tools)
    several = "" if single or form.single else " To call several functions, write one call after the other."
    return (
        f"You can call functions. These are the functions, with the JSON schemas of their arguments:\n\n{functions}\n\n"
        "To call a function, write its name and its arguments exactly in this form, and nothing after it:\n\n"
        f"{write_calls(form, [_EXAMPLE]).strip()}\n\n"
        f"The result then follows in the next turn.{several} If no function is needed, answer directly."
    )


def with_system_text(messages: Sequence[Message], text: str, *, has_system: bool) -> tuple[tuple[Message, ...], int]:
    """*messages* with *text* in their system turn, or before the user's first words where there is no such turn.

    Returns them, and by how many turns the old ones moved.
    """
    index = next((number for number, each in enumerate(messages) if each.role in ("system", "developer")), None)
    if index is None and has_system:
        return (Message(role="system", content=text), *messages), 1
    if index is None:
        index = next((number for number, each in enumerate(messages) if each.role == "user"), 0)
        joined = f"{text}\n\n{messages[index].text}"
    else:
        joined = f"{messages[index].text}\n\n{text}"
    changed = list(messages)
    changed[index] = _with_text(messages[index], joined)
    return tuple(changed), 0


def calls_as_text(form: CallFormat, messages: Sequence[Message]) -> tuple[Message, ...]:
    """*messages* with calls as the assistant's words, and results as the user's."""
    changed: list[Message] = []
    for message in messages:
        if message.role == "assistant" and message.tool_calls:
            calls = [(call.function.name, _arguments(call.function.arguments)) for call in message.tool_calls]
            written = write_calls(form, calls).strip("\n")
            text = f"{message.text}\n{written}" if message.text else written
            changed.append(Message(role="assistant", content=text))
        elif message.role == "tool":
            result = f"<tool_response>\n{message.text}\n</tool_response>"
            if changed and changed[-1].role == "user" and changed[-1].name == _RESULTS:
                changed[-1] = msgspec.structs.replace(changed[-1], content=f"{changed[-1].text}\n{result}")
            else:
                changed.append(Message(role="user", content=result, name=_RESULTS))
        else:
            changed.append(message)
    return tuple(
        msgspec.structs.replace(message, name=None) if message.name == _RESULTS else message for message in changed
    )


_RESULTS: Final = "\0results"


def _with_text(message: Message, text: str) -> Message:
    if isinstance(message.content, str) or not message.has_images:
        return msgspec.structs.replace(message, content=text)
    parts = tuple(part for part in message.content or () if not hasattr(part, "text"))
    return msgspec.structs.replace(message, content=(TextPart(text), *parts))


def _arguments(text: str) -> Any:
    try:
        value = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}
