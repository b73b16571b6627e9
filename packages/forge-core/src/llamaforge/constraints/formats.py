"""Reads ``response_format``: what the answer must look like. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..errors import ConstraintError

Kind = Literal["text", "json_object", "json_schema", "regex", "choice"]

_FIELDS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "text": (frozenset(), frozenset()),
    "json_object": (frozenset(), frozenset()),
    "json_schema": (frozenset({"json_schema"}), frozenset()),
    "regex": (frozenset({"regex"}), frozenset()),
    "choice": (frozenset({"choice"}), frozenset()),
}
"""The fields of each type beside ``type``: required ones, and others."""
_SCHEMA_FIELDS: Final = frozenset({"schema", "name", "description", "strict"})
_TYPES: Final = ", ".join(repr(kind) for kind in _FIELDS)
_MAX_CHOICES: Final = 10_000
_MAX_LENGTH: Final = 1 << 20
"""Characters of a schema, a regex, a grammar or all choices together, at most: more would take seconds to compile."""

ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """A checked ``response_format``."""

    kind: Kind
    schema: Any = None
    """The JSON schema: a mapping, or true or false."""
    name: str = "answer"
    """What servers call the schema."""
    description: str | None = None
    strict: bool | None = None
    """What was asked for. It changes nothing here: a schema is always enforced."""
    regex: str = ""
    choice: tuple[str, ...] = ()

    @property
    def is_json(self) -> bool:
        """Whether the answer is a JSON text."""
        return self.kind in {"json_object", "json_schema"}


def read_format(response_format: Mapping[str, Any]) -> AnswerFormat:
    """Check the shape of *response_format*; the schema or the regex itself is checked when it is compiled.

    Raises ConstraintError.
    """
    kind = response_format.get("type")
    if not isinstance(kind, str) or kind not in _FIELDS:
        raise _error("/type", f"the type must be one of {_TYPES}, not {kind!r}.")
    required, optional = _FIELDS[kind]
    for name in response_format:
        if name != "type" and name not in required | optional:
            fields = " and ".join(repr(each) for each in ("type", *sorted(required)))
            raise _error(f"/{escaped(name)}", f"the type {kind!r} has only the field{'s'[: len(required)]} {fields}.")
    for name in required:
        if name not in response_format:
            raise _error("", f"the type {kind!r} needs the field {name!r}.")
    if kind == "json_schema":
        return _read_schema(response_format["json_schema"])
    if kind == "regex":
        return AnswerFormat("regex", regex=_text("/regex", response_format["regex"]))
    if kind == "choice":
        return AnswerFormat("choice", choice=_read_choices(response_format["choice"]))
    return AnswerFormat("json_object", schema=ANY_OBJECT) if kind == "json_object" else AnswerFormat("text")


def check_length(parameter: str, place: str, text: str) -> None:
    """Raises ConstraintError for a text that would take too long to compile, or that has no UTF-8."""
    if len(text) > _MAX_LENGTH:
        raise ConstraintError(parameter, place, f"it has {len(text):,} characters, not at most {_MAX_LENGTH:,}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end]
        raise ConstraintError(parameter, place, f"it has half of a surrogate pair ({half!r}).") from None


def _read_schema(given: Any) -> AnswerFormat:
    place = "/json_schema"
    if not isinstance(given, Mapping) or "schema" not in given:
        raise _error(place, "it must be a mapping with the field 'schema': {'name': 'answer', 'schema': {...}}.")
    for name in given:
        if name not in _SCHEMA_FIELDS:
            raise _error(f"{place}/{escaped(name)}", f"it has only the fields {', '.join(sorted(_SCHEMA_FIELDS))}.")
    schema = given["schema"]
    if not isinstance(schema, Mapping | bool):
        raise _error(f"{place}/schema", f"a schema is a mapping, true or false, not {type(schema).__name__}.")
    strict, name, description = given.get("strict"), given.get("name", "answer"), given.get("description")
    if not isinstance(strict, bool | None):
        raise _error(f"{place}/strict", f"it must be true or false, not {strict!r}.")
    for field, value in (("name", name), ("description", description)):
        if value is not None:
            _text(f"{place}/{field}", value)
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _error(f"{place}/schema", f"it is not JSON: {error}.") from None
    check_length("response_format", f"{place}/schema", text)
    return AnswerFormat("json_schema", schema=schema, name=name or "answer", description=description, strict=strict)


def _read_choices(given: Any) -> tuple[str, ...]:
    place = "/choice"
    if not isinstance(given, list | tuple) or not given:
        raise _error(place, "it must be a non-empty list of strings.")
    if len(given) > _MAX_CHOICES:
        raise _error(place, f"it has {len(given):,} strings; at most {_MAX_CHOICES:,} are allowed.")
    for index, each in enumerate(given):
        if not _text(f"{place}/{index}", each):
            raise _error(f"{place}/{index}", "it must not be empty.")
    check_length("response_format", place, "".join(given))
    return tuple(dict.fromkeys(given))


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _error(place, f"it must be a string, not {type(value).__name__}.")
    check_length("response_format", place, value)
    return value


def escaped(name: object) -> str:
    """*name* as a part of a JSON pointer (RFC 6901)."""
    return str(name).replace("~", "~0").replace("/", "~1")


def _error(place: str, reason: str) -> ConstraintError:
    return ConstraintError("response_format", place, reason)
