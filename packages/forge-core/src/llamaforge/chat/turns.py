"""Messages in the shape that a template takes them."""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ..errors import InvalidParameterError
from ..messages import ImagePart, Message, ToolCall
from .probes import TemplateProbes, Turn

_ALPHABET: Final = string.digits + string.ascii_letters
REASONING_NAMES: Final = ("reasoning_content", "reasoning", "thinking")
"""Under which names templates read the reasoning of earlier turns: most the first; gpt-oss's the last."""


def make_turns(messages: Sequence[Message], probes: TemplateProbes) -> list[Turn]:
    """The turns that a template sees: what is not set is not there, as with transformers.

    Raises InvalidParameterError, naming the message, for arguments of a tool call that the template can't write out.
    """
    return [_make_turn(message, probes, f"messages[{index}]") for index, message in enumerate(messages)]


def without_reasoning(turns: Sequence[Turn]) -> list[Turn]:
    """*turns* without what the assistant thought."""
    return [{name: value for name, value in turn.items() if name not in REASONING_NAMES} for turn in turns]


def plain(value: Any) -> Any:
    """*value* rebuilt of plain JSON types, so that a template, which is a stranger's program, reaches nothing else."""
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return f"<{type(value).__name__}>"


def _make_turn(message: Message, probes: TemplateProbes, name: str) -> Turn:
    role = "system" if message.role == "developer" and not probes.knows_developer else message.role
    turn: Turn = {"role": role}
    if message.content is not None:
        turn["content"] = _content(message, role, probes)
    if message.reasoning_content and message.role == "assistant":
        turn |= dict.fromkeys(REASONING_NAMES, plain(message.reasoning_content))
    if message.name is not None:
        turn["name"] = plain(message.name)
    if message.tool_calls:
        turn["tool_calls"] = [_tool_call(call, probes, name) for call in message.tool_calls]
    if message.tool_call_id is not None:
        turn["tool_call_id"] = plain(message.tool_call_id)
    return turn


def _content(message: Message, role: str, probes: TemplateProbes) -> Any:
    if isinstance(message.content, str):
        return probes.content(role, plain(message.content))
    parts = message.content or ()
    forms = probes.content_forms(role)
    if not forms.parts and not any(isinstance(part, ImagePart) for part in parts):
        return plain(message.text)
    return [plain(part) for part in message.to_dict()["content"]]


def _tool_call(call: ToolCall, probes: TemplateProbes, name: str) -> dict[str, Any]:
    text = plain(call.function.arguments)
    arguments: Any = text
    if not probes.wants_argument_text:
        try:
            arguments = json.loads(text) if text.strip() else {}
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):
            message = f"The arguments of the tool call {call.function.name!r} in {name} must be a JSON object."
            raise InvalidParameterError(name, text, "a turn with valid tool calls", message=message)
    function = {"name": plain(call.function.name), "arguments": arguments}
    return {"id": plain(call.id), "type": call.type, "function": function}


def with_fitting_ids(messages: Sequence[Message], length: int) -> tuple[Message, ...]:
    """*messages*, whose calls have ids of *length* letters and digits: the template refuses all others, and the
    conversation may come from another model. Equal ids stay equal."""

    def fitting(given: str | None) -> str | None:
        if not given or (len(given) == length and given.isascii() and given.isalnum()):
            return given
        number, digits = int.from_bytes(hashlib.blake2b(given.encode("utf-8", "replace")).digest(), "big"), ""
        for _ in range(length):
            number, digit = divmod(number, len(_ALPHABET))
            digits += _ALPHABET[digit]
        return digits

    replace = msgspec.structs.replace
    return tuple(
        replace(
            message,
            tool_call_id=fitting(message.tool_call_id),
            tool_calls=tuple(replace(call, id=fitting(call.id) or call.id) for call in message.tool_calls),
        )
        if message.tool_calls or message.tool_call_id
        else message
        for message in messages
    )
