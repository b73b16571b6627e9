"""Answers that must have a form: languages with few sentences, all of them written out."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from ...errors import InvalidParameterError

_GRAMMAR: Final = re.compile(r'\s*root\s*::=\s*("[^"]+"(?:\s*\|\s*"[^"]+")*)\s*')


class Constraint:
    """Keeps an answer to one of *sentences*."""

    def __init__(self, sentences: list[str]) -> None:
        self._sentences = [sentence.encode() for sentence in sentences]
        self._begun = b""

    def allows(self, token: bytes) -> bool:
        """Whether *token* may come next; the empty one ends the answer."""
        if not token:
            return self._begun in self._sentences
        wanted = self._begun + token
        return any(sentence.startswith(wanted) for sentence in self._sentences)

    def take(self, token: bytes) -> None:
        """*token* has come."""
        self._begun += token


def from_grammar(grammar: str) -> Constraint:
    """A GBNF grammar of the form ``root ::= "this" | "that"``. Raises InvalidParameterError for any other."""
    found = _GRAMMAR.fullmatch(grammar)
    if found is None:
        raise InvalidParameterError("grammar", grammar, 'of the form root ::= "this" | "that"')
    return Constraint(re.findall(r'"([^"]+)"', found[1]))


def from_response_format(wanted: Mapping[str, Any]) -> Constraint:
    """OpenAI's ``json_schema`` form. Raises InvalidParameterError for schemas with more than a few sentences.

    ``json_object`` is one of a few objects.
    """
    if wanted.get("type") == "json_object":
        return Constraint([json.dumps(value) for value in ({}, {"a": True}, {"a": False}, {"sea": "cold"})])
    if wanted.get("type") != "json_schema":
        raise InvalidParameterError("response_format", wanted, "{'type': 'json_schema', 'json_schema': {...}}")
    schema = (wanted.get("json_schema") or {}).get("schema")
    return from_schema(schema, "response_format")


def from_schema(schema: Any, parameter: str) -> Constraint:
    """Every JSON text that *schema* allows, in one spelling."""
    return Constraint([json.dumps(value) for value in _values(schema, parameter)])


def _values(schema: Any, parameter: str) -> list[Any]:
    if isinstance(schema, Mapping):
        if "enum" in schema:
            return list(schema["enum"])
        if schema.get("type") == "boolean":
            return [False, True]
        if schema.get("type") == "object":
            properties = schema.get("properties", {})
            choices = [_values(each, parameter) for each in properties.values()]
            return [dict(zip(properties, row, strict=True)) for row in itertools.product(*choices)]
    raise InvalidParameterError(parameter, schema, "a schema of objects, enumerations and booleans")
