"""JSON schemas that llguidance enforces exactly, and what it can't, by name and place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..errors import ConstraintError
from .formats import escaped
from .library import limits, llguidance, plain_reason
from .rewriting import ALONE, IN_LISTS, IN_MAPPINGS, NOTHING, Rewriting

_LOOKED_AT: Final = 200
"""Parts of a refused schema that are tried by themselves, to find the place."""


def enforceable(schema: Any, *, parameter: str, place: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """*schema* as llguidance enforces it, and notes on annotations that are not enforced.

    Raises ConstraintError for what can't be enforced exactly.
    """
    root = schema if isinstance(schema, Mapping) else ({} if schema else NOTHING)
    rewriting = Rewriting(parameter)
    checked = rewriting.rewritten(root, place)
    reason = _failure(checked)
    if reason:
        raise _located(root, checked, reason, parameter, place)
    return checked, tuple(rewriting.notes)


def _failure(schema: Mapping[str, Any]) -> str:
    """Why llguidance refuses *schema*; empty where it doesn't."""
    library = llguidance()
    message: str = library.LLMatcher.validate_grammar(f"start: %json {json.dumps(schema)}", None, limits=limits())
    return "" if not message or message.startswith("WARNING") else plain_reason(message)


def _located(
    schema: Mapping[str, Any], checked: Mapping[str, Any], reason: str, parameter: str, place: str
) -> ConstraintError:
    """The error for the innermost part of *schema* that is refused."""
    found, why = "", reason
    shared = {name: checked[name] for name in ("$defs", "definitions", "$schema") if name in checked}
    for index, (pointer, inner) in enumerate(subschemas(schema)):
        if index > _LOOKED_AT:
            break
        if pointer and isinstance(inner, Mapping) and pointer.startswith(found):
            try:
                refused = _failure({**shared, **Rewriting(parameter).rewritten(inner, "")})
            except ConstraintError:
                continue
            if refused:
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
        if keyword in IN_MAPPINGS and isinstance(value, Mapping):
            for name, inner in value.items():
                yield f"/{keyword}/{escaped(name)}", inner
        elif (keyword in IN_LISTS or keyword == "items") and isinstance(value, list | tuple):
            for index, inner in enumerate(value):
                yield f"/{keyword}/{index}", inner
        elif keyword in ALONE:
            yield f"/{keyword}", value
