"""Chat messages, in the shape that OpenAI's API and chat templates share.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from .errors import InvalidParameterError
from .validation import plain_value

Role = Literal["system", "developer", "user", "assistant", "tool"]


class TextPart(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """A piece of text inside a message."""

    text: str


class ImageUrl(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where an image is: an ``https:`` or a ``data:`` URL. *detail* is ``low``, ``high`` or ``auto``."""

    url: str
    detail: Literal["low", "high", "auto"] | None = None


class ImagePart(msgspec.Struct, frozen=True, tag_field="type", tag="image_url"):
    """An image inside a message."""

    image_url: ImageUrl


Part = TextPart | ImagePart


class FunctionCall(msgspec.Struct, frozen=True):
    """A function's name and its arguments: the JSON text that the model wrote."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True):
    """One tool call by the model."""

    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One turn of a conversation."""

    role: Role
    """The author: system or developer (instructions), user, assistant, or tool (the result of a tool call)."""
    content: str | tuple[Part, ...] | None = None
    """The content: text, or a sequence of text and image parts. None if there are only tool calls."""
    name: str | None = None
    """The author's name, if several share a role."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tool calls of an assistant turn."""
    tool_call_id: str | None = None
    """The id of the call that a tool turn answers."""

    @property
    def text(self) -> str:
        """The text of the message; text parts are joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content or () if isinstance(part, TextPart))

    @property
    def has_images(self) -> bool:
        """Whether any part is an image."""
        return not isinstance(self.content, str) and any(isinstance(part, ImagePart) for part in self.content or ())

    def to_dict(self) -> dict[str, Any]:
        """The message as plain dictionaries, for templates and HTTP bodies. ``content`` is always present."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        plain["role"] = self.role
        plain.setdefault("content", None)
        return plain


_FIELDS: Final = frozenset(Message.__struct_fields__)


def read_messages(messages: Iterable[Message | Mapping[str, object]]) -> tuple[Message, ...]:
    """Check *messages* and convert each to a :class:`Message`.

    Raises InvalidParameterError, with the message's index, if one is malformed.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        raise InvalidParameterError(
            "messages", messages, "a list of messages such as {'role': 'user', 'content': 'Hello'}", show_value=False
        )
    read = []
    for index, message in enumerate(messages):
        if isinstance(message, Message):
            read.append(_with_plain_text(message))
            continue
        try:
            read.append(msgspec.convert(_without_empty_fields(plain_value(message)), Message))
        except Exception as error:  # noqa: BLE001 - of odd objects msgspec raises other errors than its own
            raise InvalidParameterError(
                f"messages[{index}]",
                message,
                f"a message such as {{'role': 'user', 'content': 'Hello'}} ({error})",
                show_value=False,
            ) from None
    return tuple(read)


def _without_empty_fields(message: Any) -> Any:
    """*message* as OpenAI's SDK gives one out, made one to send again.

    Such a message has every field of an answer, most of them null or empty, and a refusal beside the content or among
    its parts; that is what the assistant said.
    """
    if not isinstance(message, dict):
        return message
    if len(message) == 2 and "content" in message and message.get("role") != "assistant":
        return message  # most messages
    kept = {name: value for name, value in message.items() if name in _FIELDS or value not in (None, [], ())}
    if kept.get("tool_calls", ()) is None:
        del kept["tool_calls"]
    if kept.get("role") != "assistant":
        return kept
    content = kept.get("content")
    if isinstance(content, list | tuple):
        kept["content"] = [
            {"type": "text", "text": part["refusal"]}
            if isinstance(part, dict) and part.get("type") == "refusal" and isinstance(part.get("refusal"), str)
            else part
            for part in content
        ]
    if not content and isinstance(kept.get("refusal"), str):
        kept["content"] = kept.pop("refusal")
    return kept


def _with_plain_text(message: Message) -> Message:
    """*message* with a subclass of ``str`` as its text, such as an answer that was returned, made a plain one."""
    content = message.content
    if isinstance(content, str) and type(content) is not str:
        return msgspec.structs.replace(message, content=str.__str__(content))
    return message
