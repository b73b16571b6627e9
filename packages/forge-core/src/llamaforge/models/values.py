"""What a TOML file can hold, made of what a program passes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from ..errors import InvalidParameterError

_DEPTH = 32


def plain(value: Any, name: str, depth: int = 0) -> Any:
    """*value* as TOML holds it: text, numbers, true and false, dates, lists, tables. A path object becomes text.

    Raises InvalidParameterError, which names the place and never shows the value, for anything else: TOML has no None.
    """
    if isinstance(value, bool | date | time):
        return value
    if isinstance(value, str | os.PathLike):
        return _text(value, name)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if depth >= _DEPTH:
        raise InvalidParameterError(name, value, f"nested less than {_DEPTH} levels deep", show_value=False)
    if isinstance(value, Mapping):
        table = {}
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidParameterError(name, value, "a mapping whose keys are strings", show_value=False)
            table[_text(key, name)] = plain(inner, f"{name}.{key}", depth + 1)
        return table
    if isinstance(value, list | tuple):
        return [plain(inner, f"{name}[{index}]", depth + 1) for index, inner in enumerate(value)]
    advice = "Leave it out." if value is None else "Pass it when you load the model instead."
    message = f"{name} can't be saved in a file, because it is of the type {type(value).__name__}. {advice}"
    expected = "text, a number, true or false, a list or a mapping"
    raise InvalidParameterError(name, value, expected, show_value=False, message=message)


def _text(value: Any, name: str) -> str:
    found = os.fspath(value)
    if isinstance(found, str):
        try:
            found.encode("utf-8")
            return str.__str__(found)  # an enum's own str would say its name
        except UnicodeEncodeError:
            pass
    raise InvalidParameterError(name, value, "text that UTF-8 can encode", show_value=False)


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same in TOML: 1 is not 1.0 and not true, and one NaN is as good as another."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, datetime) != isinstance(other, datetime):
        return False
    return type(one) is type(other) and bool(one == other)
