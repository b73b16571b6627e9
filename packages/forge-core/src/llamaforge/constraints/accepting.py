"""Whether a finished text is an answer that a constraint allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .formats import read_format
from .grammar import Grammar, format_grammar, text_grammar
from .library import bytes_tokenizer, compile_grammar

_ANY_SPACING: Final[Mapping[str, object]] = {
    "whitespace_flexible": True,
    "json_allow_general_unicode_escapes": True,
}
"""White space anywhere, and any spelling of a string: a text is judged by what it means."""


def accepts(response_format: Mapping[str, Any], text: str) -> bool:
    """Whether *text* is a complete answer under *response_format*.

    A JSON text may have any white space around its values; properties come in the schema's order, as in every answer
    that an engine in this process gives.

    Raises ConstraintError for a format that can't be enforced, and MissingDependencyError without llguidance.
    """
    wanted = read_format(response_format)
    grammar = format_grammar(wanted, spacing=_ANY_SPACING)
    return True if grammar is None else _matches(grammar, text.strip(" \t\r\n") if wanted.is_json else text)


def grammar_accepts(grammar: str, text: str) -> bool:
    """Whether *text* is a complete answer under *grammar*, in Lark or GBNF. Raises as :func:`accepts`."""
    return _matches(text_grammar(grammar), text)


def _matches(grammar: Grammar, text: str) -> bool:
    matcher, reason = compile_grammar(bytes_tokenizer(), grammar.resolved({}))
    if matcher is None:
        raise grammar.error(reason)
    data = text.encode()
    return bool(matcher.try_consume_tokens(list(data)) == len(data) and matcher.is_accepting())
