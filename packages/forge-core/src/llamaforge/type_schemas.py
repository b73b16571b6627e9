"""JSON schemas of Python types, for answers and for the arguments of functions; and instances from JSON texts.

Types are what msgspec knows (Struct, dataclass, TypedDict, enum, ``list[...]`` and so on), and pydantic's models, of
which only their own methods are used.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from .errors import ConstraintError

_PLACE: Final = "$defs"
_YEAR: Final = "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_DAY: Final = f"{_YEAR}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
_CLOCK: Final = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_HOURS: Final = "T([0-9]{1,6}H([0-9]{1,6}M)?([0-9]{1,6}S)?|[0-9]{1,6}M([0-9]{1,6}S)?|[0-9]{1,6}S)"
_LEAP: Final = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_REAL: Final = f"({_YEAR}-((0[13-9]|1[0-2])-[0-3][0-9]|02-([01][0-9]|2[0-8]))|{_LEAP}-02-29)"
_PATTERNS: Final = {
    "date": f"^{_REAL}$",
    "date-time": f"^{_REAL}[Tt][0-9]{{2}}:[0-9]{{2}}:[0-5]",
    "time": "^[0-9]{2}:[0-9]{2}:[0-5]",
}
"""For formats that allow more than Python's types do: the year 0, leap seconds, 29 February in each year."""
_INSTEAD: Final = {"decimal": r"^-?[0-9]{1,30}(\.[0-9]{1,30})?$", "duration": f"^P([0-9]{{1,6}}D({_HOURS})?|{_HOURS})$"}
"""For formats that JSON Schema doesn't know, or that allow what a timedelta can't hold, such as months."""
_BASE64: Final = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def is_answer_type(value: object) -> bool:
    """Whether *value*, given as ``response_format``, is a type and not a mapping or plain data."""
    return not isinstance(value, Mapping | str | bytes | int | float | list | tuple | set | None)


def type_format(kind: Any) -> dict[str, Any]:
    """The ``response_format`` for answers that are instances of *kind*.

    Objects get no properties that the type doesn't have. Raises ConstraintError for a type without a JSON schema.
    """
    try:
        schema = type_schema(kind)
    except Exception as error:
        name = getattr(kind, "__name__", repr(kind))
        reason = str(error).strip().rpartition("\n")[2]  # before it stands advice to callers of msgspec
        raise ConstraintError(
            "response_format", "", f"the type {name} can't be written as a JSON schema: {reason}"
        ) from error
    name = getattr(kind, "__name__", "answer") if isinstance(kind, type) else "answer"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


def type_schema(kind: Any, *, brief: bool = False) -> dict[str, Any]:
    """The JSON schema of *kind*. Objects with properties admit no others, unless the type says so.

    Args:
        kind: the type.
        brief: for schemas that models read: without the long patterns for the dates that Python's types can hold. 30
            February is then a text of the format ``date``.

    Raises what msgspec or pydantic raise for a type that has none.
    """
    return typing.cast("dict[str, Any]", _closed(_schema(kind), {} if brief else _PATTERNS))


def instance(kind: Any, text: str) -> Any:
    """The instance of *kind* that the JSON *text* describes. Raises ValueError."""
    if _is_pydantic(kind):
        return kind.model_validate_json(text)
    return msgspec.json.decode(text, type=kind, dec_hook=_decoded)


def _is_pydantic(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate_json")


def _schema(kind: Any) -> dict[str, Any]:
    if _is_pydantic(kind):
        schema: dict[str, Any] = kind.model_json_schema()
        return schema
    schema = msgspec.json.schema(kind, schema_hook=_hooked)
    _amend(inspect.type_info(kind), schema)
    shared: dict[str, Any] = {}
    moved = _hoisted(schema, shared)
    if shared:
        moved[_PLACE] = {**moved.get(_PLACE, {}), **shared}
    return typing.cast("dict[str, Any]", moved)


def _hooked(kind: Any) -> dict[str, Any]:
    """The schema of a type that msgspec doesn't know."""
    if not _is_pydantic(kind):
        raise NotImplementedError
    return {"x-model": kind.__name__, **kind.model_json_schema()}


def _decoded(kind: Any, value: Any) -> Any:
    if not _is_pydantic(kind):
        raise NotImplementedError(f"{kind!r} can't be converted from JSON.")
    return kind.model_validate(value)


def _amend(kind: inspect.Type, schema: dict[str, Any]) -> None:
    """Write formats into *schema*, that of *kind*, where msgspec leaves them out, for times with or without a zone; and
    take out that the items of a set differ."""
    _amend_one(kind, schema)
    objects = [schema, *schema.get(_PLACE, {}).values()]
    for each in _parts(kind):
        fields = {field.encode_name: field.type for field in getattr(each, "fields", ())}
        for found in objects if fields else ():
            properties = found.get("properties", {})
            if found.get("title") == each.cls.__name__ and fields.keys() <= properties.keys():
                for name, inner in fields.items():
                    _amend_one(inner, properties[name])


def _parts(kind: inspect.Type) -> Iterator[Any]:
    """*kind* and all types in it."""
    waiting: list[Any] = [kind]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if isinstance(each, tuple):
            waiting += each
        elif isinstance(each, inspect.Type | inspect.Field) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += (getattr(each, name) for name in each.__struct_fields__)


def _amend_one(kind: inspect.Type, schema: Any) -> None:
    if not isinstance(schema, dict):
        return
    if isinstance(kind, inspect.Metadata):
        _amend_one(kind.type, schema)
    elif isinstance(kind, inspect.UnionType):  # at most one of its types is written as a string
        for option in schema.get("anyOf", ()):
            for each in kind.types:
                _amend_one(each, option)
    elif isinstance(kind, inspect.TupleType):
        for each, inner in zip(kind.item_types, schema.get("prefixItems", ()), strict=False):
            _amend_one(each, inner)
    elif isinstance(kind, inspect.DictType):
        _amend_one(kind.value_type, schema.get("additionalProperties"))
    elif isinstance(kind, inspect.DateTimeType | inspect.TimeType):
        if schema.get("type") == "string" and "pattern" not in schema:
            dated = isinstance(kind, inspect.DateTimeType)
            if kind.tz is False:
                schema["pattern"] = f"^{_DAY}T{_CLOCK}$" if dated else f"^{_CLOCK}$"
            else:
                schema["format"] = "date-time" if dated else "time"
    elif hasattr(kind, "item_type"):
        if isinstance(kind, inspect.SetType | inspect.FrozenSetType) and (kind.min_length or 0) <= 1:
            schema.pop("uniqueItems", None)  # which can't be enforced; what comes twice is once in the set
        _amend_one(kind.item_type, schema.get("items"))


def _hoisted(schema: Any, shared: dict[str, Any], model: str = "") -> Any:
    """*schema* with the definitions of models inside it moved to *shared*, under names of their own."""
    if isinstance(schema, list):
        return [_hoisted(each, shared, model) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = dict(schema)
    if "x-model" in inner:
        model = inner.pop("x-model")
        for name, each in inner.pop(_PLACE, {}).items():
            key = f"{model}.{name}"
            if key not in shared:
                shared[key] = True
                shared[key] = _hoisted(each, shared, model)
    reference = inner.get("$ref")
    if model and isinstance(reference, str):
        inner["$ref"] = reference.replace(f"#/{_PLACE}/", f"#/{_PLACE}/{model}.", 1)
    return {key: _hoisted(value, shared, model) for key, value in inner.items()}


def _closed(schema: Any, patterns: Mapping[str, str]) -> Any:
    """*schema*, whose objects with properties admit no others unless they say so, and whose strings can be read."""
    if isinstance(schema, list):
        return [_closed(each, patterns) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: value if key in {"enum", "const", "default", "examples"} else _closed(value, patterns)
        for key, value in schema.items()
    }
    if closed.get("type") == "object" and isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    if closed.get("type") == "string" and "pattern" not in closed:
        form: Any = closed.get("format")
        if form in patterns:
            closed["pattern"] = patterns[form]
        elif form in _INSTEAD:
            closed["pattern"] = _INSTEAD[closed.pop("format")]
        elif closed.get("contentEncoding") == "base64":
            closed["pattern"] = _BASE64
    return closed
