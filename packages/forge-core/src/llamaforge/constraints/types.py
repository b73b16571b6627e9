"""Python types as formats of answers: the schema of a type, and an instance from a JSON text.

Types are what msgspec knows (Struct, dataclass, TypedDict, enum, ``list[...]`` and so on), and pydantic's models, of
which only their own methods are used.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..errors import ConstraintError

_PLACE: Final = "$defs"


def is_answer_type(value: object) -> bool:
    """Whether *value*, given as ``response_format``, is a type and not a mapping or plain data."""
    return not isinstance(value, Mapping | str | bytes | int | float | list | tuple | set | None)


def type_format(kind: Any) -> dict[str, Any]:
    """The ``response_format`` for answers that are instances of *kind*.

    Objects get no properties that the type doesn't have. Raises ConstraintError for a type without a JSON schema.
    """
    try:
        schema = _schema(kind)
    except Exception as error:
        name = getattr(kind, "__name__", repr(kind))
        raise ConstraintError(
            "response_format", "", f"the type {name} can't be written as a JSON schema: {error}"
        ) from error
    name = getattr(kind, "__name__", "answer") if isinstance(kind, type) else "answer"
    return {"type": "json_schema", "json_schema": {"name": name, "schema": _closed(schema)}}


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


def _closed(schema: Any) -> Any:
    """*schema*, whose objects with properties admit no others unless they say so."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: value if key in {"enum", "const", "default", "examples"} else _closed(value)
        for key, value in schema.items()
    }
    if closed.get("type") == "object" and isinstance(closed.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed
