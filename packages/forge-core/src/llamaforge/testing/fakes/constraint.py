"""Answers that must have a form."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ...constraints import Grammar, format_grammar, json_rule, read_format, text_grammar
from ...constraints.matcher import Matcher
from ...constraints.vocabulary import Vocabulary
from .language import CONTROL, ToyLanguage


class Constraint:
    """Keeps an answer to a *grammar*."""

    def __init__(self, grammar: Grammar) -> None:
        self._matcher: Matcher = _vocabulary().matcher(grammar)
        self._mask: bytes | None = None

    def allows(self, token: bytes) -> bool:
        """Whether *token* may come next; the empty one ends the answer."""
        if self._mask is None:
            self._mask = self._matcher.native.compute_bitmask()
        number = _ids()[token]
        return bool(self._mask[number >> 3] >> (number & 7) & 1)

    def take(self, token: bytes) -> None:
        """*token* has come."""
        self._matcher.accept(_ids()[token])
        self._mask = None


def from_grammar(grammar: str) -> Constraint:
    """Lark or GBNF. Raises ConstraintError."""
    return Constraint(text_grammar(grammar))


def from_response_format(wanted: Mapping[str, Any]) -> Constraint | None:
    """Any format; None where every text will do. Raises ConstraintError."""
    grammar = format_grammar(read_format(wanted))
    return None if grammar is None else Constraint(grammar)


def from_schema(schema: Any, place: str) -> Constraint:
    """A JSON object that *schema* allows, which stands at *place* in ``tools``. Raises ConstraintError."""
    wanted = {**(schema if isinstance(schema, Mapping) else {}), "type": "object"}
    rule, _ = json_rule(wanted, parameter="tools", place=place)
    return Constraint(Grammar(f"start: {rule}", parameter="tools"))


@functools.cache
def _vocabulary() -> Vocabulary:
    language = ToyLanguage()
    return Vocabulary([*language.tokens, b""], {language.end: CONTROL}, {language.end})


@functools.cache
def _ids() -> Mapping[bytes, int]:
    language = ToyLanguage()
    return {**{token: number for number, token in enumerate(language.tokens)}, b"": language.end}
