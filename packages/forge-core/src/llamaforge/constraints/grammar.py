"""One grammar for a whole answer, from whatever was asked for."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..errors import ConstraintError
from .formats import AnswerFormat, check_length, read_format

if TYPE_CHECKING:
    from ..requests import GenerationRequest

SPACING: Final[Mapping[str, object]] = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
"""The white space of JSON answers: as ``json.dumps`` writes it, one space after a comma or a colon, and no other.
Models that may choose fill answers with white space until they are cut."""

_SPECIAL = re.compile('\u27e6("(?:[^"\\\\]|\\\\.)*")\u27e7')


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar for the whole answer. Equal ones are compiled once for each vocabulary.

    It is written in Lark, as llguidance reads it: ``%json {...}`` stands for a JSON schema (:func:`json_rule` writes
    it), and :func:`special_token` for a special token.
    """

    lark: str
    """The grammar; its rule ``start`` is the whole answer."""
    parts: tuple[tuple[str, str], ...] = ()
    """Further grammars, each with a ``start`` of its own, by names: ``@name`` refers to one in a rule."""
    parameter: str = "grammar"
    """The parameter that asked for it, for errors."""
    notes: tuple[str, ...] = ()
    """What of the parameter is not enforced, since it is an annotation."""
    place: str = ""
    """The part of the parameter that it was made of, as a JSON pointer; empty for all of it."""

    def error(self, reason: str) -> ConstraintError:
        """The error for a grammar that can't be compiled, for llguidance's *reason*."""
        if self.place == "/regex":  # without the place in a grammar that the caller didn't write
            reason = reason.rpartition(" error: ")[2]
        return ConstraintError(self.parameter, self.place, reason)

    def resolved(self, special: Mapping[str, int]) -> str:
        """The grammar for llguidance. *special* has a vocabulary's special tokens, ids by spellings."""

        def place(match: re.Match[str]) -> str:
            token = special.get(json.loads(match[1]))
            return match[1] if token is None else f"<[{token}]>"

        lark = _SPECIAL.sub(place, self.lark)
        if not self.parts:
            return lark
        parts = [{"name": name, "lark_grammar": _SPECIAL.sub(place, text)} for name, text in self.parts]
        return json.dumps({"grammars": [{"lark_grammar": lark}, *parts]})


def special_token(text: str) -> str:
    """What stands in a :class:`Grammar` for the special token that is spelled *text*.

    Where a vocabulary has no such special token, it is the text itself. (A literal in Lark never matches a special
    token, which has no text.)
    """
    return f"\u27e6{json.dumps(text)}\u27e7"


def request_grammar(request: GenerationRequest) -> Grammar | None:
    """The grammar that *request* asks for with ``response_format`` or ``grammar``; None where any text will do.

    Raises ConstraintError.
    """
    if request.response_format is not None:
        return _format_grammar(msgspec.json.encode(request.response_format))
    if request.grammar is not None:
        return text_grammar(request.grammar)
    return None


@functools.lru_cache(maxsize=128)
def _format_grammar(encoded: bytes) -> Grammar | None:
    return format_grammar(read_format(msgspec.json.decode(encoded)))


def format_grammar(wanted: AnswerFormat, *, spacing: Mapping[str, object] = SPACING) -> Grammar | None:
    """The grammar for answers in a format; None where any text will do. *spacing* is that of JSON.

    Raises ConstraintError.
    """
    if wanted.kind == "text":
        return None
    if wanted.kind == "choice":
        # One terminal: as rules, some thousand choices would be too many.
        choices = " | ".join(map(literal, wanted.choice))
        return Grammar(f"start: CHOICE\nCHOICE: {choices}", parameter="response_format")
    if wanted.kind == "regex":
        from .regexes import regex_terminal

        return Grammar(f"start: {regex_terminal(wanted.regex)}", parameter="response_format", place="/regex")
    rule, notes = json_rule(wanted.schema, spacing=spacing)
    return Grammar(f"start: {rule}", parameter="response_format", notes=notes)


@functools.lru_cache(maxsize=128)
def text_grammar(text: str) -> Grammar:
    """A grammar that a caller wrote: Lark, or GBNF, which is translated. Raises ConstraintError."""
    check_length("grammar", "", text)
    from .gbnf import is_gbnf, to_lark

    return Grammar(to_lark(text) if is_gbnf(text) else text)


def json_rule(
    schema: Any,
    *,
    parameter: str = "response_format",
    place: str = "/json_schema/schema",
    spacing: Mapping[str, object] = SPACING,
) -> tuple[str, tuple[str, ...]]:
    """What stands in a rule of a :class:`Grammar` for a JSON text that is valid under *schema*, and notes on
    annotations that are not enforced.

    Args:
        schema: a mapping, true or false.
        parameter: where the schema was given, for errors.
        place: the JSON pointer to it there.
        spacing: llguidance's options for white space.

    Raises ConstraintError for what can't be enforced exactly.
    """
    from .json_schema import enforceable

    checked, notes = enforceable(schema, parameter=parameter, place=place)
    return f"%json {json.dumps({**checked, 'x-guidance': spacing})}", notes


def literal(text: str) -> str:
    """*text* as a string of Lark."""
    return json.dumps(text, ensure_ascii=False)
