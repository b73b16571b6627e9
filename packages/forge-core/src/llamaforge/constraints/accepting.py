"""Whether a finished text is an answer that a constraint allows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from ..errors import ConstraintError, InvalidParameterError
from .formats import read_format
from .grammar import Grammar, format_grammar, text_grammar
from .library import bytes_tokenizer, compile_grammar, plain_reason

_ANY_SPACING: Final[Mapping[str, object]] = {
    "whitespace_flexible": True,
    "json_allow_general_unicode_escapes": True,
}
"""White space anywhere, and any spelling of a string: a text is judged by what it means."""
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*("?)')
"""A string of JSON, or the beginning of one that has no end."""


def accepts(response_format: Mapping[str, Any] | type[Any], text: str) -> bool:
    """Whether *text* is a complete answer under *response_format*, a mapping or a Python type.

    A JSON text may have any white space around its values; properties come in the schema's order, as in every answer
    that an engine in this process gives.

    Raises ConstraintError for a format that can't be enforced, InvalidParameterError for a text that is no string, and
    MissingDependencyError without llguidance.
    """
    wanted = read_format(response_format if isinstance(response_format, Mapping) else _of_type(response_format))
    grammar = format_grammar(wanted, spacing=_ANY_SPACING)
    return True if grammar is None else _matches(grammar, text, strips=wanted.is_json)


def grammar_accepts(grammar: str, text: str) -> bool:
    """Whether *text* is a complete answer under *grammar*, in Lark or GBNF. Raises as :func:`accepts`."""
    return _matches(text_grammar(grammar), text)


def _of_type(kind: Any) -> Mapping[str, Any]:
    from ..type_schemas import is_answer_type, type_format

    if not is_answer_type(kind):
        reason = f"it must be a mapping such as {{'type': 'json_object'}}, or a Python type, not {type(kind).__name__}."
        raise ConstraintError("response_format", "", reason)
    return type_format(kind)


def _respelled(text: str) -> str:
    """A JSON text with its strings as the grammar spells the names and constants of a schema: ``"é"`` for
    ``"\\u00e9"``."""

    def respelled(found: re.Match[str]) -> str:
        return json.dumps(json.loads(found[0]), ensure_ascii=False) if found[1] else found[0]

    return _STRING.sub(respelled, text.strip(" \t\r\n"))


def _matches(grammar: Grammar, text: str, *, strips: bool = False) -> bool:
    if not isinstance(text, str):
        message = f"text must be a string, not {type(text).__name__}."
        raise InvalidParameterError("text", None, "a text", show_value=False, message=message)
    matcher, reason = compile_grammar(bytes_tokenizer(), grammar.resolved({}))
    if matcher is None:
        raise grammar.error(reason)
    try:
        data = (_respelled(text) if strips else text).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which no answer has
        return False
    taken = matcher.try_consume_tokens(list(data))
    if matcher.is_error():  # a text that isn't allowed is none: this one needs more than the limits permit
        raise grammar.error(f"it can't be followed to the end of an answer: {plain_reason(matcher.get_error())}")
    return bool(taken == len(data) and matcher.is_accepting())
