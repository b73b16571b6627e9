"""Untyped values in, typed structs out, with errors that name the field and say what it must be."""

from __future__ import annotations

import functools
import math
import numbers
import typing
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import msgspec.inspect as mi

from .errors import InvalidParameterError, LlamaForgeError
from .secrets import Secret

_PLAIN = frozenset({str, int, float, bool})

EXPECTED: Final = "expected"
"""The key in ``msgspec.Meta(extra={...})`` of a type's description, where its own would not do."""


def convert(values: Mapping[str, Any], into: Any, dec_hook: Any = None) -> Any:
    """Make *values* an instance of the msgspec struct *into*, with errors that name the field.

    Raises InvalidParameterError, or the typed error that the struct's own ``__post_init__`` raised. Names must have
    been checked before.
    """
    try:
        return msgspec.convert(values if type(values) is dict else dict(values), into, dec_hook=dec_hook)
    except LlamaForgeError:
        raise
    except Exception as error:  # of odd objects msgspec raises other errors than its own
        if isinstance(error.__cause__, LlamaForgeError):  # msgspec wraps every ValueError of __post_init__
            raise error.__cause__ from None
        # Find the culprit by type and not by reading the message: convert the fields one by one.
        for name, value in values.items():
            try:
                msgspec.convert({name: value}, _only(into, name), dec_hook=dec_hook)
            except Exception as error:  # noqa: BLE001 - see above
                raise InvalidParameterError(
                    name, value, describe_field(into, name, str(error)), show_value=not is_secret(into, name)
                ) from None
        for field in msgspec.structs.fields(into):
            if field.required and field.encode_name not in values:
                name = field.encode_name
                expected = describe_field(into, name)
                message = f"{name} is missing" + (f"; it must be {expected}." if expected else ".")
                raise InvalidParameterError(name, None, expected, show_value=False, message=message) from None
        raise


def plain_value(value: Any) -> Any:
    """*value* with what behaves like a built-in type made one: a subclass of ``str``, numpy's scalars and arrays.

    Mappings, lists and tuples are gone through. Anything else is returned as it is, for a type check to refuse.
    """
    kind = type(value)
    if kind in _PLAIN or value is None:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if kind is dict or isinstance(value, Mapping):
        return {plain_value(key): plain_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(plain_value, value)) if isinstance(value, tuple) else [plain_value(each) for each in value]
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if kind.__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):  # arrays, and numpy's own bool
        return value.tolist()
    return value


def check_mapping(value: object, name: str = "parameters") -> None:
    """Raise InvalidParameterError unless *value* is a mapping or None."""
    if value is not None and not isinstance(value, Mapping):
        raise InvalidParameterError(name, value, "a mapping from names to values", show_value=False)


def check_text(value: object, name: str, *, optional: bool = False) -> None:
    """Raise InvalidParameterError unless *value* is a string, or None if it is *optional*."""
    if not isinstance(value, str) and not (optional and value is None):
        raise InvalidParameterError(name, value, "a string or None" if optional else "a string")


def check_number(value: object, name: str) -> None:
    """Raise InvalidParameterError unless *value* is a number."""
    if not isinstance(plain_value(value), int | float):
        raise InvalidParameterError(name, value, "a number")


def seconds_to_wait(wait: bool | float, name: str = "wait") -> float:
    """Read the argument *name*, such as ``wait`` of ``unload_model``: True is without end, False is 0 seconds.

    Raises InvalidParameterError.
    """
    if isinstance(wait, bool):
        return math.inf if wait else 0.0
    value = plain_value(wait)
    if not isinstance(value, int | float) or not value >= 0:
        raise InvalidParameterError(name, wait, "True, False, or a number of seconds")
    return float(value)


def read_timeout(timeout: object) -> float | None:
    """Read ``timeout`` of a call: seconds above 0, or None. Raises InvalidParameterError."""
    value = plain_value(timeout)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise InvalidParameterError("timeout", timeout, "a number above 0")
    return float(value)


@functools.lru_cache(maxsize=256)
def describe_field(struct: Any, name: str, fallback: str = "") -> str:
    """Type and range of a field, in words: ``a number from 0 to 1``."""
    for field in mi.type_info(struct).fields:  # type: ignore[attr-defined]
        if field.name == name:
            return _words(field.type) or fallback
    return fallback


@functools.lru_cache(maxsize=256)
def _only(struct: Any, name: str) -> type[Any]:
    annotation = _hints(struct)[name]
    return msgspec.defstruct("Only", [(name, annotation)])


@functools.lru_cache(maxsize=64)
def _hints(struct: Any) -> dict[str, Any]:
    return typing.get_type_hints(struct, include_extras=True)


def is_secret(struct: Any, name: str) -> bool:
    """Whether the field holds a :class:`~llamaforge.secrets.Secret`, so that its value is never shown."""
    return Secret.__name__ in str(_hints(struct)[name])


def _words(kind: Any) -> str:
    if isinstance(kind, mi.Metadata):
        return (kind.extra or {}).get(EXPECTED) or _words(kind.type)
    if isinstance(kind, mi.UnionType):
        words = [_words(each) for each in kind.types if not isinstance(each, mi.NoneType)]
        return " or ".join(word for word in words if word)
    if isinstance(kind, mi.BoolType):
        return "true or false"
    if isinstance(kind, mi.IntType | mi.FloatType):
        return ("a whole number" if isinstance(kind, mi.IntType) else "a number") + _range(kind)
    if isinstance(kind, mi.StrType):
        return "a non-empty string" if kind.min_length else "a string"
    if isinstance(kind, mi.LiteralType):
        return "one of " + ", ".join(repr(value) for value in kind.values)
    if isinstance(kind, mi.VarTupleType | mi.ListType):
        return f"a list of {_plural(kind.item_type)}"
    if isinstance(kind, mi.DictType):
        value = _plural(kind.value_type)
        return f"a mapping from {_plural(kind.key_type)} to {value}" if value else "a mapping"
    if isinstance(kind, mi.StructType):
        return "a mapping with " + " and ".join(field.encode_name for field in kind.fields)
    if isinstance(kind, mi.CustomType):
        return "a string or 'env:NAME'"
    return ""


def _plural(kind: Any) -> str:
    if isinstance(kind, mi.Metadata):
        return _plural(kind.type)
    if isinstance(kind, mi.UnionType):
        return " or ".join(filter(None, map(_plural, kind.types)))
    if isinstance(kind, mi.LiteralType):
        return "any of " + ", ".join(repr(value) for value in kind.values)
    article, _, rest = _words(kind).partition(" ")
    if article not in ("a", "an"):
        return f"{article} {rest}".strip()
    for noun in ("whole number", "number", "non-empty string", "string", "mapping", "list"):
        if rest.startswith(noun):
            return f"{noun}s{rest.removeprefix(noun)}"
    return rest


def _range(kind: Any) -> str:
    low, high = kind.ge, kind.le
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    if kind.gt is not None and high is not None:
        return f" above {_number(kind.gt)} and at most {_number(high)}"
    if low is not None:
        return f" of at least {_number(low)}"
    if kind.gt is not None:
        return f" above {_number(kind.gt)}"
    return ""


def _number(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
