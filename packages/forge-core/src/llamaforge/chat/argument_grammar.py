"""Grammars for the arguments of one tool, in the notation of a format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ..constraints import json_rule
from ..constraints.regexes import regex_terminal
from ..errors import ConstraintError
from .lark_parts import LarkParts
from .output_format import CallFormat, Tags
from .tagged_arguments import resolve
from .values import kinds, to_json

ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}
NO_ARGUMENTS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}, "additionalProperties": False}
"""For a function without ``parameters``, as OpenAI's API has it."""
_ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated", "readOnly", "writeOnly"}
)
_AT_THE_ROOT: Final = _ANNOTATIONS | {"type", "properties", "required", "additionalProperties", "$defs", "definitions"}
_OF_TEXT: Final = _ANNOTATIONS | {"type", "minLength", "maxLength", "pattern", "enum", "const", "nullable"}
_UNIONS: Final = ("anyOf", "oneOf")
_DEPTH: Final = 16


class ArgumentGrammar:
    """Writes the rule for the arguments of a tool.

    Args:
        form: the notation.
        parts: the grammar that is being written.
        schema: the schema of the arguments; None: there are none.
        place: the JSON pointer to it, for errors.
    """

    def __init__(self, form: CallFormat, parts: LarkParts, schema: Any, place: str) -> None:
        self._form = form
        self._parts = parts
        self._root: Mapping[str, Any] = schema if isinstance(schema, Mapping) else NO_ARGUMENTS
        self._place = place
        kind = self._root.get("type", "object")
        if kind != "object" and not (isinstance(kind, list | tuple) and "object" in kind):
            raise self._refused(f"{place}/type", f"arguments are an object, so that the type can't be {kind!r}")

    def rule(self) -> str:
        """What stands in a rule for the arguments. Raises ConstraintError for what can't be enforced."""
        if self._form.arguments == "json":
            return self._parts.rule(self._json({**self._root, "type": "object"}, self._place))
        members = self._members()
        if self._form.arguments == "braces":
            return self._object(members, "{", "}", lambda key: f"{key}:", ",", self._place, 0)
        if self._form.arguments == "python":
            return self._object(members, "", "", lambda key: f"{key}=", ", ", self._place, 0)
        tags = self._form.tags
        return self._parts.rule(" ".join(self._tagged(tags, *each) for each in members) or '""') if tags else '""'

    def _members(self) -> list[tuple[str, Any, bool, str]]:
        """Each property: its name, its schema, whether it is required, and where its schema stands."""
        root = resolve(self._root, self._root)
        if not isinstance(root, Mapping):
            root = ANY_OBJECT
        return self._members_of(root, self._place)

    def _members_of(self, schema: Mapping[str, Any], place: str) -> list[tuple[str, Any, bool, str]]:
        for keyword in schema:
            if keyword not in _AT_THE_ROOT:
                raise self._refused(
                    f"{place}/{keyword}", f"{keyword!r} can't be enforced in this model's notation of calls"
                )
        properties = schema.get("properties", {})
        required = schema.get("required", ())
        names = [*properties, *(name for name in required if name not in properties)]
        found = []
        for name in names:
            if not name or any(character in name for character in '<>=:"\n{},()'):
                raise self._refused(
                    f"{place}/properties", f"the name {name!r} can't be written in this model's notation"
                )
            found.append((name, properties.get(name, True), name in required, f"{place}/properties/{name}"))
        return found

    # JSON

    def _json(self, schema: Any, place: str) -> str:
        shared = {name: self._root[name] for name in ("$defs", "definitions") if name in self._root}
        whole = {**shared, **schema} if isinstance(schema, Mapping) else schema
        return json_rule(whole, parameter="tools", place=place)[0]

    # between tags

    def _tagged(self, tags: Tags, name: str, schema: Any, required: bool, place: str) -> str:
        parts = self._parts
        schema = resolve(schema, self._root)
        allowed = kinds(schema)
        texts = allowed is None or "string" in allowed
        before = parts.text(f"{tags.key_begin}{name}{tags.key_end}{tags.value_begin}")
        after = parts.text(tags.after) if tags.after else ""
        written = []
        if texts and (allowed is not None or not tags.key_end_json):
            written.append(f"{before} {self._text_until(schema, allowed, tags.value_end, place)} {after}")
        if not texts or tags.key_end_json:
            others = schema
            if allowed is not None and texts:
                others = _without_strings(schema)
            if others is not None:
                if tags.key_end_json:
                    before = parts.text(f"{tags.key_begin}{name}{tags.key_end_json}{tags.value_begin}")
                written.append(f"{before} {self._json(others, place)} {parts.text(tags.value_end)} {after}")
        rule = parts.rule(" | ".join(written))
        return rule if required else f"{rule}?"

    def _text_until(self, schema: Any, allowed: frozenset[str] | None, end: str, place: str) -> str:
        """A text under *schema*, and *end* after it."""
        parts = self._parts
        if not isinstance(schema, Mapping) or allowed is None:
            return parts.until(end)
        if len(allowed) > 1:
            for option in [schema, *(each for union in _UNIONS for each in schema.get(union, ()))]:
                extra = set(option) - _ANNOTATIONS - {"type", *_UNIONS} if isinstance(option, Mapping) else set()
                if extra:
                    raise self._refused(place, f"{min(extra)!r} can't be enforced where a text is one of several types")
            return parts.until(end)
        return self._one_text(schema, end, place)

    def _one_text(self, schema: Mapping[str, Any], end: str, place: str) -> str:
        parts = self._parts
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is not None:
            texts = [value for value in values if isinstance(value, str) and end.strip() not in value]
            return f"({' | '.join(parts.text(text + end) for text in texts)})"
        unknown = set(schema) - _OF_TEXT - {"format"}
        if unknown:
            raise self._refused(f"{place}/{min(unknown)}", f"{min(unknown)!r} can't be enforced on a text between tags")
        kind = []
        if "minLength" in schema or "maxLength" in schema:
            kind.append(f"/(?s:.{{{schema.get('minLength', 0)},{schema.get('maxLength', '')}}})/")
        if "pattern" in schema:
            kind.append(parts.terminal(regex_terminal(f"(?s:.*)(?:{schema['pattern']})(?s:.*)")))
        return parts.until(end, parts.terminal(" & ".join(kind)) if kind else "")

    # in other notations: objects with bare keys, and Python's values

    def _object(
        self,
        members: list[tuple[str, Any, bool, str]],
        begin: str,
        end: str,
        key: Any,
        separator: str,
        place: str,
        depth: int,
    ) -> str:
        """All members in order, with separators between those that are there."""
        parts = self._parts
        written = [(parts.rule(f"{parts.text(key(name))} {self._value(schema, where, depth)}"), required)
                   for name, schema, required, where in members]  # fmt: skip
        # Rule i writes the members from i on, after another one (with a separator) or as the first.
        first, later = '""', '""'
        for each, required in reversed(written):
            comma = parts.text(separator)
            with_it = f"{each} {later}"
            first = parts.rule(with_it if required else f"{with_it} | {first}")
            later = parts.rule(f"{comma} {with_it}" if required else f"{comma} {with_it} | {later}")
        pieces = [parts.text(begin) if begin else "", first, parts.text(end) if end else ""]
        return parts.rule(" ".join(piece for piece in pieces if piece))

    def _value(self, schema: Any, place: str, depth: int) -> str:
        schema = resolve(schema, self._root)
        if depth > _DEPTH:
            raise self._refused(place, f"schemas nested deeper than {_DEPTH} levels can't be enforced in this notation")
        if not isinstance(schema, Mapping):
            schema = {}
        for union in _UNIONS:
            if schema.get(union):
                options = [self._value(each, f"{place}/{union}/{number}", depth + 1)
                           for number, each in enumerate(schema[union])]  # fmt: skip
                return self._parts.rule(" | ".join(options))
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is not None:
            return self._parts.rule(" | ".join(self._parts.text(self._written(value)) for value in values))
        allowed = kinds(schema)
        names = sorted(allowed) if allowed is not None else ["string", "number", "boolean", "null"]
        return self._parts.rule(" | ".join(self._of_kind(kind, schema, place, depth) for kind in names))

    def _of_kind(self, kind: str, schema: Mapping[str, Any], place: str, depth: int) -> str:
        parts, is_python = self._parts, self._form.arguments == "python"
        if kind == "string":
            if is_python:
                return self._json({**_only(schema, _OF_TEXT | {"format"}), "type": "string"}, place)
            return f"{parts.text(self._form.quote)} {self._one_text(_only_text(schema), self._form.quote, place)}"
        if kind == "boolean":
            return '("True" | "False")' if is_python else '("true" | "false")'
        if kind == "null":
            return '"None"' if is_python else '"null"'
        if kind == "array":
            return self._array(schema, place, depth)
        if kind == "object":
            members = self._members_of(_only(schema, _AT_THE_ROOT), place)
            if is_python:
                return self._object(members, "{", "}", lambda key: f"{to_json(key)}: ", ", ", place, depth + 1)
            return self._object(members, "{", "}", lambda key: f"{key}:", ",", place, depth + 1)
        number = _only(schema, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
        return self._json({**number, "type": kind}, place)

    def _array(self, schema: Mapping[str, Any], place: str, depth: int) -> str:
        for keyword in ("prefixItems", "contains", "uniqueItems", "unevaluatedItems"):
            if schema.get(keyword):
                raise self._refused(f"{place}/{keyword}", f"{keyword!r} can't be enforced in this model's notation")
        item = self._value(schema.get("items", True), f"{place}/items", depth + 1)
        separator = '", "' if self._form.arguments == "python" else '","'
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return '"[]"'
        more = f"{{{max(0, least - 1)},{'' if most is None else most - 1}}}"
        items = f"{item} ({separator} {item}){more}"
        return self._parts.rule(f'"[" {items} "]"' + ("" if least else ' | "[]"'))

    def _written(self, value: Any) -> str:
        if self._form.arguments == "python":
            return to_json(value) if isinstance(value, str) else repr(value)
        return f"{self._form.quote}{value}{self._form.quote}" if isinstance(value, str) else json.dumps(value)

    def _refused(self, place: str, reason: str) -> ConstraintError:
        return ConstraintError("tools", place, f'{reason}. Change it, or set "strict": false for this function.')


def _only(schema: Mapping[str, Any], keywords: frozenset[str] | set[str]) -> dict[str, Any]:
    return {keyword: value for keyword, value in schema.items() if keyword in keywords and keyword not in _ANNOTATIONS}


def _only_text(schema: Mapping[str, Any]) -> dict[str, Any]:
    return _only(schema, _OF_TEXT)


def _without_strings(schema: Any) -> Any:
    """*schema* for the values that are no strings; None where there are none."""
    if not isinstance(schema, Mapping):
        return schema
    kept = dict(schema)
    named = kept.get("type")
    if isinstance(named, str):
        return None if named == "string" else schema
    if isinstance(named, list):
        kept["type"] = [each for each in named if each != "string"]
        return kept if kept["type"] else None
    if isinstance(kept.get("enum"), list):
        kept["enum"] = [value for value in kept["enum"] if not isinstance(value, str)]
        return kept if kept["enum"] else None
    for union in _UNIONS:
        if isinstance(kept.get(union), list):
            options = [_without_strings(each) for each in kept[union]]
            kept[union] = [each for each in options if each is not None]
            return kept if kept[union] else None
    return None if isinstance(kept.get("const"), str) else kept
