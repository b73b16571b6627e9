"""JSON schemas rewritten so that llguidance can enforce them. Each rewriting keeps the meaning exactly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ..errors import ConstraintError
from .formats import escaped

IN_MAPPINGS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
IN_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
ALONE: Final = (
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
_COUNTS: Final = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties", "minContains")
_IN_PLACE: Final = frozenset(
    {"allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "if", "then", "else", "not", "dependentSchemas"}
)
"""Keywords whose schemas apply to the same value, and so evaluate its properties and items."""
_TYPES: Final = ("null", "boolean", "number", "string", "array", "object")
_MOST_LEFT_OUT: Final = 666
"""Properties in a row that an answer may leave out beside a required one: with more, :mod:`.library`'s limit of
``max_items_in_row`` is met, after a time that grows with their square."""
_MOST_OPTIONAL: Final = 498
"""The same where none is required, so that each may be the first one or follow another."""
_DEEPEST: Final = 100
"""Levels of schemas in schemas."""
NOTHING: Final[Mapping[str, Any]] = {"anyOf": [False]}
"""The schema ``false``, where there must be a mapping."""


@dataclass(slots=True)
class Rewriting:
    """One schema's rewriting."""

    parameter: str
    notes: list[str] = field(default_factory=list)
    """Annotations that are not enforced."""

    def rewritten(self, schema: Mapping[str, Any], place: str, depth: int = 0) -> dict[str, Any]:
        """*schema*, which stands at *place*. Raises ConstraintError."""
        if depth > _DEEPEST:
            raise ConstraintError(self.parameter, place, f"schemas are nested deeper than {_DEEPEST} levels.")

        def inner(value: Any, where: str) -> Any:
            return self.rewritten(value, where, depth + 1) if isinstance(value, Mapping) else value

        kept: dict[str, Any] = {}
        for keyword, value in schema.items():
            where = f"{place}/{escaped(keyword)}"
            if keyword == "format" and isinstance(value, str) and value not in _FORMATS:
                self.notes.append(f"{self.parameter} at {where}: format {value!r}")
            elif keyword in IN_MAPPINGS and isinstance(value, Mapping):
                kept[keyword] = {name: inner(each, f"{where}/{escaped(name)}") for name, each in value.items()}
            elif (keyword in IN_LISTS or keyword == "items") and isinstance(value, list | tuple):
                kept[keyword] = [inner(each, f"{where}/{index}") for index, each in enumerate(value)]
            elif keyword in ALONE:
                kept[keyword] = inner(value, where)
            elif keyword in _COUNTS and isinstance(value, float) and value.is_integer():
                kept[keyword] = int(value)
            else:
                kept[keyword] = value
        self._refuse_endless_choice(kept, place)
        for rule in _RULES:
            rule(kept)
        self._refuse_uncountable(kept, place)
        return kept

    def _refuse_endless_choice(self, schema: Mapping[str, Any], place: str) -> None:
        """Each property that may be left out is a choice of its own, wherever the answer stands before it."""
        properties, required = schema.get("properties"), schema.get("required")
        if not isinstance(properties, Mapping) or len(properties) <= _MOST_OPTIONAL:
            return
        needed = {name for name in required if isinstance(name, str)} if isinstance(required, list | tuple) else set()
        most = _MOST_LEFT_OUT if needed else _MOST_OPTIONAL
        row = 0
        for name in properties:
            row = 0 if name in needed else row + 1
            if row > most:
                reason = (
                    f"more than {most} properties in a row may be left out, which is too much to follow. "
                    "Name those in required that every answer has, or make objects of them."
                )
                raise ConstraintError(self.parameter, f"{place}/properties", reason)

    def _refuse_uncountable(self, schema: Mapping[str, Any], place: str) -> None:
        """Names beside ``properties`` may come twice in an answer, and would be counted twice."""
        least, required = schema.get("minProperties"), schema.get("required", ())
        sure = (
            len(set(required))
            if isinstance(required, list | tuple) and all(isinstance(n, str) for n in required)
            else 0
        )
        closed = schema.get("additionalProperties") is False and not schema.get("patternProperties")
        if isinstance(least, int) and least > max(1, sure) and not closed:
            reason = f"minProperties {least} can't be enforced where any names may come: a name may come twice."
            raise ConstraintError(self.parameter, f"{place}/minProperties", reason)


def _drop_what_says_nothing(schema: dict[str, Any]) -> None:
    """Keywords that mean nothing alone."""
    if schema.get("uniqueItems") is False or _at_most_one_item(schema):
        schema.pop("uniqueItems", None)
    if "if" not in schema:
        schema.pop("then", None)
        schema.pop("else", None)
    elif not {"then", "else", "unevaluatedProperties", "unevaluatedItems"} & schema.keys():
        del schema["if"]  # without those it evaluates nothing that matters
    if "contains" not in schema:
        schema.pop("minContains", None)
        schema.pop("maxContains", None)
    schema.pop("$dynamicAnchor", None)  # a $dynamicRef to it is refused
    if schema.get("propertyNames") in (True, {}):
        del schema["propertyNames"]


def _at_most_one_item(schema: Mapping[str, Any]) -> bool:
    most = schema.get("maxItems")
    return isinstance(most, int) and most <= 1


def _if_decided(schema: dict[str, Any]) -> None:
    """``if`` with true or false chooses one side."""
    condition = schema.get("if")
    if condition in (True, {}) or condition is False:
        side = schema.get("else" if condition is False else "then", True)
        for keyword in ("if", "then", "else"):
            schema.pop(keyword, None)
        _also(schema, side)


def _dependent_required(schema: dict[str, Any]) -> None:
    """Without the name, or with all that it requires."""
    dependent = schema.get("dependentRequired")
    if isinstance(dependent, Mapping) and all(_is_names(names) for names in dependent.values()):
        del schema["dependentRequired"]
        for name, names in dependent.items():
            if names:
                _also(schema, {"anyOf": [{"properties": {name: False}}, {"required": [name, *names]}]})


def _dependent_schemas(schema: dict[str, Any]) -> None:
    """Without the name, or with it and under the schema."""
    dependent = schema.get("dependentSchemas")
    if isinstance(dependent, Mapping):
        del schema["dependentSchemas"]
        for name, inner in dependent.items():
            # What is no object has no properties, so that the first alternative admits it.
            _also(schema, {"anyOf": [{"properties": {name: False}}, {"allOf": [inner, {"required": [name]}]}]})


def _unevaluated(schema: dict[str, Any]) -> None:
    """Where nothing else evaluates, they are the same as what is additional."""
    if _IN_PLACE & schema.keys():
        return
    if "unevaluatedProperties" in schema:
        rest = schema.pop("unevaluatedProperties")
        schema.setdefault("additionalProperties", rest)
    if "unevaluatedItems" in schema and "contains" not in schema and not isinstance(schema.get("items"), list):
        rest = schema.pop("unevaluatedItems")
        schema.setdefault("items", rest)


def _property_names(schema: dict[str, Any]) -> None:
    """A pattern for all names, where there are no other properties."""
    names = schema.get("propertyNames")
    if names is False:
        del schema["propertyNames"]
        _also(schema, {"maxProperties": 0})
        return
    if not isinstance(names, Mapping) or {"properties", "patternProperties", "required"} & schema.keys():
        return
    words = names.get("enum", ())
    if set(names) == {"pattern"}:
        pattern = names["pattern"]
    elif set(names) == {"enum"} and _is_names(words):
        pattern = f"^({'|'.join(map(re.escape, words))})$"
    else:
        return
    del schema["propertyNames"]
    rest = schema.pop("additionalProperties", True)
    schema["patternProperties"] = {pattern: rest}
    schema["additionalProperties"] = False


def _negations(schema: dict[str, Any]) -> None:
    """``not`` of nothing, of everything, of types, and of a property's presence."""
    denied = schema.get("not")
    if denied is False:
        del schema["not"]
    elif denied is True or denied == {}:
        del schema["not"]
        _also(schema, False)
    elif isinstance(denied, Mapping) and set(denied) == {"type"}:
        types = [denied["type"]] if isinstance(denied["type"], str) else denied["type"]
        if _is_names(types) and set(types) <= set(_TYPES):
            del schema["not"]
            left = [each for each in _TYPES if each not in types]
            _also(schema, {"type": left} if left else False)
    elif isinstance(denied, Mapping) and set(denied) == {"required"} and _is_names(denied["required"]):
        names = denied["required"]
        del schema["not"]
        _also(schema, {"type": "object", "anyOf": [{"properties": {name: False}} for name in names] or [False]})


def _also(schema: dict[str, Any], more: Any) -> None:
    """*schema* and *more* together. What is no list of schemas is left for llguidance to refuse."""
    present = schema.get("allOf", [])
    if more is not True and isinstance(present, list | tuple):
        schema["allOf"] = [*present, more]


def _is_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


_RULES: Final[tuple[Callable[[dict[str, Any]], None], ...]] = (
    _drop_what_says_nothing,
    _unevaluated,  # while what comes below has not added anything
    _if_decided,
    _negations,
    _property_names,
    _dependent_required,
    _dependent_schemas,
)
