"""JSON schemas that llguidance enforces exactly, and what it can't, by name and place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..errors import ConstraintError
from .formats import escaped
from .library import llguidance, plain_reason

_IN_MAPPINGS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_IN_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_ALONE: Final = (
    "items",
    "additionalItems",
    "additionalProperties",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
"""Keywords that have schemas in them."""
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"}
)
"""Formats that are enforced. All others are annotations."""
_DEEPEST: Final = 100
"""Levels of schemas in schemas."""


def enforceable(schema: Any, *, parameter: str, place: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """*schema* as llguidance enforces it, and notes on annotations that are not enforced.

    Raises ConstraintError for what can't be enforced exactly.
    """
    root = schema if isinstance(schema, Mapping) else ({} if schema else {"not": {}})
    notes: list[str] = []
    checked = _without_unknown_formats(root, place, notes)
    reason = _failure(checked)
    if reason:
        raise _located(checked, reason, parameter, place)
    return checked, tuple(notes)


def _failure(schema: Mapping[str, Any]) -> str:
    """Why llguidance refuses *schema*; empty where it doesn't."""
    library = llguidance()
    from .library import limits

    message: str = library.LLMatcher.validate_grammar(f"start: %json {json.dumps(schema)}", None, limits=limits())
    return "" if not message or message.startswith("WARNING") else plain_reason(message)


def _located(schema: Mapping[str, Any], reason: str, parameter: str, place: str) -> ConstraintError:
    """The error for the innermost part of *schema* that is refused."""
    found, why = "", reason
    shared = {name: schema[name] for name in ("$defs", "definitions", "$schema") if name in schema}
    for pointer, inner in subschemas(schema):
        if isinstance(inner, Mapping) and pointer.startswith(found):
            refused = _failure({**shared, **inner} if pointer else inner)
            if refused and pointer:
                found, why = pointer, refused
    return ConstraintError(parameter, place + found, why)


def subschemas(schema: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """*schema* and all schemas in it, each after those that hold it, with JSON pointers from *pointer*."""
    yield pointer, schema
    if isinstance(schema, Mapping):
        for name, inner in children(schema):
            yield from subschemas(inner, pointer + name)


def children(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The schemas directly in *schema*, with JSON pointers."""
    for keyword, value in schema.items():
        if keyword in _IN_MAPPINGS and isinstance(value, Mapping):
            for name, inner in value.items():
                yield f"/{keyword}/{escaped(name)}", inner
        elif (keyword in _IN_LISTS or keyword == "items") and isinstance(value, list | tuple):
            for index, inner in enumerate(value):
                yield f"/{keyword}/{index}", inner
        elif keyword in _ALONE:
            yield f"/{keyword}", value


def _without_unknown_formats(schema: Mapping[str, Any], place: str, notes: list[str], depth: int = 0) -> dict[str, Any]:
    """*schema* without formats that nobody can enforce: they are annotations, as JSON Schema has it."""
    if depth > _DEEPEST:
        raise ConstraintError("response_format", place, f"schemas are nested deeper than {_DEEPEST} levels.")

    def inner(value: Any, where: str) -> Any:
        return _without_unknown_formats(value, where, notes, depth + 1) if isinstance(value, Mapping) else value

    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        where = f"{place}/{escaped(keyword)}"
        if keyword == "format" and isinstance(value, str) and value not in _FORMATS:
            notes.append(f"format {value!r} at {where}")
        elif keyword in _IN_MAPPINGS and isinstance(value, Mapping):
            kept[keyword] = {name: inner(each, f"{where}/{escaped(name)}") for name, each in value.items()}
        elif (keyword in _IN_LISTS or keyword == "items") and isinstance(value, list | tuple):
            kept[keyword] = [inner(each, f"{where}/{index}") for index, each in enumerate(value)]
        else:
            kept[keyword] = inner(value, where) if keyword in _ALONE else value
    return kept
