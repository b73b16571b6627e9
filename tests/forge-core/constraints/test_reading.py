"""What an answer in a format says."""

from __future__ import annotations

import math
from typing import Any

import pytest

from llamaforge.constraints.reading import AnswerReader
from llamaforge.errors import ConstraintError, InvalidAnswerError

ANY: dict[str, Any] = {"type": "json_schema", "json_schema": {"schema": {}}}


@pytest.mark.parametrize(
    ("text", "says"),
    [("[1e999, -1e999]", [math.inf, -math.inf]), (f"[1{'0' * 400}]", [10**400]), ("1.5", 1.5)],
)
def test_numbers_that_no_float_holds_are_json(text: str, says: Any) -> None:
    reader = AnswerReader(ANY)
    reader.finish(text)
    assert reader.parsed == says


@pytest.mark.parametrize("text", ["", "[1e999", "NaN", "[Infinity]", "nonsense"])
def test_what_is_no_json_is_an_error(text: str) -> None:
    with pytest.raises(InvalidAnswerError, match="it is not JSON"):
        AnswerReader(ANY).finish(text)


@pytest.mark.parametrize("depth", [300, 100_000])
def test_what_is_nested_too_deeply_is_an_error_of_ours(depth: int) -> None:
    nested = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}
    wanted = {"type": "json_schema", "json_schema": {"schema": nested}}
    with pytest.raises(InvalidAnswerError, match="nested too deeply"):
        AnswerReader(wanted, validate=True).finish("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    ("text", "factor", "right"),
    [
        ("1.1", 0.1, True),
        ("0.3", 0.1, True),
        ("1e300", 0.7, False),
        ("1e999", 2, True),
        (f"1{'0' * 400}", 5, True),
        ("7", 2, False),
        ("-4", 2, True),
    ],
)
def test_multiples_are_those_of_the_written_numbers(text: str, factor: float, right: bool) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": {"type": "number", "multipleOf": factor}}}
    reader = AnswerReader(wanted, validate=True)
    if right:
        reader.finish(text)
    else:
        with pytest.raises(InvalidAnswerError, match="not a multiple"):
            reader.finish(text)


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(900):
        schema = {"items": schema}
    with pytest.raises(ConstraintError, match="nested too deeply"):
        AnswerReader({"type": "json_schema", "json_schema": {"schema": schema}}, validate=True)
