"""Chat templates: the model's own Jinja text, rendered as transformers renders it.

https://huggingface.co/docs/transformers/chat_templating
"""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as LoopControls  # noqa: N812 - it is a class
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llamaforge.errors import InvalidModelError, InvalidParameterError
from llamaforge.messages import Message

_MARK: Final = "LlamaForgeContinuesHere"
"""Stands at the end of a turn that is continued; what a template puts after it is cut off."""


class ChatTemplate:
    """A compiled template.

    Args:
        text: the Jinja text.
        tokens: texts of the model's special tokens, by the names that templates use (``bos_token``).

    Raises jinja2.TemplateError where *text* is no template.
    """

    def __init__(self, text: str, tokens: Mapping[str, str] | None = None) -> None:
        self._template = _environment().from_string(text)
        self._tokens = dict(tokens or {})

    def render(self, messages: Sequence[Message]) -> str:
        """The text for a conversation, up to where the answer begins; a last assistant turn is left open.

        Raises InvalidParameterError with what the template says where it refuses the conversation.
        """
        turns = [_turn(message) for message in messages]
        if messages[-1].role != "assistant":
            return self._run(turns, add_generation_prompt=True)
        turns[-1]["content"] += _MARK + " "
        text, mark, rest = self._run(turns, add_generation_prompt=False).rpartition(_MARK)
        if not mark:
            raise _refused("one without a last assistant turn: the model's chat template does not show that turn")
        # Where the template trims the turn, the space after the mark is gone, and so must be the spaces before it.
        return text if rest.startswith(" ") else text.rstrip()

    def _run(self, turns: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
        try:
            return self._template.render(
                messages=turns,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._tokens,
            )
        except Exception as error:  # a template is a program of somebody else's
            raise _refused(f"one that the model's chat template takes; it says: {error}") from error


def read_template(given: str) -> str:
    """The load parameter ``chat_template``: Jinja text itself, or what the file of that name holds.

    Raises InvalidParameterError where it is neither, or no sound template.
    """
    text = given
    if not any(sign in given for sign in ("{{", "{%", "\n")):
        try:
            text = Path(given).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            expected = f"a Jinja template or the path of a file that holds one ({error})"
            raise InvalidParameterError("chat_template", given, expected) from None
    try:
        ChatTemplate(text)
    except jinja2.TemplateError as error:
        expected = f"a sound Jinja template ({type(error).__name__}: {error})"
        raise InvalidParameterError("chat_template", given, expected, show_value=False) from None
    return text


def model_template(text: str, tokens: Mapping[str, str], model: str) -> ChatTemplate:
    """The template that a model's file holds.

    Raises InvalidModelError where it is unsound.
    """
    try:
        return ChatTemplate(text, tokens)
    except jinja2.TemplateError as error:
        raise InvalidModelError(
            model, f"its chat template is unsound ({error}). Pass another one with the load parameter chat_template."
        ) from error


def _refused(expected: str) -> InvalidParameterError:
    return InvalidParameterError("messages", None, expected, show_value=False)


def _turn(message: Message) -> dict[str, Any]:
    """A message as templates know it: what is not set is not there, and text in parts is one text."""
    turn = {name: value for name, value in message.to_dict().items() if value is not None}
    return {**turn, "content": message.text}


class _Generation(Extension):
    """``{% generation %} ... {% endgeneration %}``: marks the model's own words for training; the text stays."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_words"), [], [], body).set_lineno(line)

    def _words(self, caller: Callable[[], str]) -> str:
        return caller()


@functools.cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, LoopControls]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _now(pattern: str) -> str:
    return dt.datetime.now().strftime(pattern)  # noqa: DTZ005 - the reader's own clock, as transformers has it
