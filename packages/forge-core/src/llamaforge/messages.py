"""Chat messages, in the shape that OpenAI's API and chat templates share.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import msgspec

from .errors import InvalidParameterError, closest
from .validation import plain_value

if TYPE_CHECKING:
    from .results import GeneratedText

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
    reasoning_content: str | None = None
    """What an assistant thought before its content and its calls. Read under the name ``reasoning``, too. Templates
    decide which turns' reasoning the model sees again: mostly that since the user's last turn."""
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

    @classmethod
    def from_answer(cls, answer: GeneratedText) -> Message:
        """*answer* as the assistant's turn, with its reasoning and its calls, to go on with a conversation.

        An answer that was cut in a call keeps only its text.
        """
        calls = answer.tool_calls if answer.finish_reason in ("tool_calls", "stop") else ()
        return cls(
            role="assistant",
            content=answer.text if answer.text or not calls else None,
            reasoning_content=answer.reasoning or None,
            tool_calls=calls,
        )

    def to_dict(self) -> dict[str, Any]:
        """The message as plain dictionaries, for templates and HTTP bodies. ``content`` is always present."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        plain["role"] = self.role
        plain.setdefault("content", None)
        return plain


_FIELDS: Final = frozenset(Message.__struct_fields__)
_HELLO: Final = "{'role': 'user', 'content': 'Hello'}"
_EXAMPLE: Final = f"a message such as {_HELLO}"


def read_messages(messages: Iterable[Message | Mapping[str, object]]) -> tuple[Message, ...]:
    """Check *messages* and convert each to a :class:`Message`.

    Raises InvalidParameterError, with the message's index, if one is malformed.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Iterable):
        said = f"messages must be a list of messages such as {_HELLO}, not {type(messages).__name__}."
        raise InvalidParameterError("messages", messages, "a list of messages", show_value=False, message=said)
    read = []
    for index, message in enumerate(messages):
        if isinstance(message, Message):
            read.append(_with_plain_text(message))
            continue
        plain = _without_empty_fields(plain_value(message))
        try:
            read.append(msgspec.convert(plain, Message))
        except Exception as error:  # noqa: BLE001 - of odd objects msgspec raises other errors than its own
            name = f"messages[{index}]"
            said = f"{name} {_mistake(plain) or f'is not valid: {error}.'}"
            raise InvalidParameterError(name, message, _EXAMPLE, show_value=False, message=said) from None
    return tuple(read)


def _mistake(message: Any) -> str:
    """What is wrong with *message*, as the end of a sentence; empty where nobody knows."""
    if not isinstance(message, dict):
        return f"must be a mapping such as {_HELLO}, not {type(message).__name__}."
    if unknown := [str(name) for name in message if name not in _FIELDS]:
        near = closest(unknown[0], _FIELDS)
        hint = f"did you mean {near[0]!r}?" if near else f"the fields are {_listed(Message.__struct_fields__)}."
        return f"has the unknown field {unknown[0]!r}; {hint}"
    roles = f"the roles are {_listed(get_args(Role))}."
    if "role" not in message:
        return f"has no role; {roles}"
    if message["role"] not in get_args(Role):
        return f"has the role {message['role']!r}; {roles}"
    return next(filter(None, (_mistaken_field(name, value) for name, value in message.items())), "")


def _mistaken_field(name: str, value: Any) -> str:
    if name in ("name", "tool_call_id", "reasoning_content") and not isinstance(value, str | None):
        return f"has a {name} that is not a string."
    if name == "tool_calls" and not _fits(value, tuple[ToolCall, ...]):
        call = "{'id': '1', 'type': 'function', 'function': {'name': 'f', 'arguments': '{}'}}"
        return f"has tool_calls that are not a list of calls such as {call}."
    if name != "content" or isinstance(value, str | None):
        return ""
    if not isinstance(value, list | tuple):
        return f"has content that is neither a string nor a list of parts, but {type(value).__name__}."
    for number, part in enumerate(value):
        if not _fits(part, Part):
            kind = f" (type {part['type']!r})" if isinstance(part, dict) and "type" in part else ""
            return (
                f"has content whose part {number}{kind} is neither {{'type': 'text', 'text': ...}} nor "
                "{'type': 'image_url', 'image_url': {'url': ...}}."
            )
    return ""


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _without_empty_fields(message: Any) -> Any:
    """A *message* as OpenAI's SDK returns it, cleaned so that it can be sent again.

    Such a message has every field of an answer, most of them null or empty, and perhaps a refusal beside the content or
    among its parts, which counts as what the assistant said.
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
    if isinstance(kept.get("reasoning"), str):  # the other name in use
        said = kept.pop("reasoning")
        kept["reasoning_content"] = kept.get("reasoning_content") or said
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
    """*message* with a plain ``str`` as its text; an answer that was returned is a subclass."""
    content = message.content
    if isinstance(content, str) and type(content) is not str:
        return msgspec.structs.replace(message, content=str.__str__(content))
    return message
