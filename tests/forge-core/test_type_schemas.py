"""Python types as formats, `answer.parsed` and `stream.partial`."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import json
import pickle
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.constraints import accepts
from llamaforge.constraints.partial import partial_json
from llamaforge.errors import ConstraintError, InvalidAnswerError
from llamaforge.type_schemas import instance, type_format
from support.dice_engine import DiceBackend


class Point(msgspec.Struct):
    x: int
    y: bool = False


@dataclasses.dataclass
class Line:
    points: list[Point]


class Named(TypedDict):
    name: Literal["a", "b"]


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Leaf(pydantic.BaseModel):
    on: bool


class Tree(pydantic.BaseModel):
    leaf: Leaf
    colour: Colour


class Picky(pydantic.BaseModel):
    on: bool

    @pydantic.field_validator("on")
    @classmethod
    def never(cls, value: bool) -> bool:
        raise ValueError("never good enough")


@pytest.fixture(scope="module")
def backend() -> Iterator[DiceBackend]:
    with DiceBackend() as made:
        yield made


def test_the_answer_is_an_instance(backend: DiceBackend) -> None:
    point = backend.generate("x", response_format=Point, seed=1).parsed
    assert isinstance(point, Point)
    assert isinstance(backend.generate("x", response_format=Tree, seed=1).parsed, Tree)
    named: Named = backend.generate("x", response_format=Named, seed=1).parsed
    assert named["name"] in {"a", "b"}
    assert isinstance(backend.generate("x", response_format=Colour, seed=1).parsed, Colour)
    leaves = backend.generate("x", response_format=dict[Literal["l"], Leaf], seed=1, max_tokens=200)
    if leaves.finish_reason == "stop":
        assert all(isinstance(leaf, Leaf) for leaf in leaves.parsed.values())


@pytest.mark.parametrize("kind", [list[Point], Line, list[Tree]])
def test_instances_in_instances(backend: DiceBackend, kind: Any) -> None:
    for seed in range(20):
        answer = backend.generate("x", response_format=kind, seed=seed, max_tokens=300)
        if answer.finish_reason == "stop":
            inner = answer.parsed.points if kind is Line else answer.parsed
            assert all(isinstance(each, Tree if kind == list[Tree] else Point) for each in inner)
            return
    pytest.fail("no answer was complete")


class Moment(msgspec.Struct):
    when: dt.datetime
    at: dt.time | None
    local: list[Annotated[dt.datetime, msgspec.Meta(tz=False)]]


@dataclasses.dataclass
class Meeting:
    moments: dict[str, Moment]
    spans: tuple[dt.datetime, dt.timedelta]


@pytest.mark.parametrize(
    ("kind", "valid", "invalid"),
    [
        (dt.datetime, ["2024-02-29T10:11:12Z"], ["soon", "2023-02-29T10:11:12Z", "2024-01-01T10:11:60Z"]),
        (dt.date, ["2024-02-29"], ["0000-01-01", "2023-02-29"]),
        (dt.time, ["10:11:12Z"], ["noon", "10:11:60Z"]),
        (dt.timedelta, ["P1D", "P1DT2H", "PT5M3S"], ["P1M", "P1Y", "P", "long"]),
        (decimal.Decimal, ["1", "-0.25"], ["a lot", "", "."]),
        (bytes, ["", "aGk=", "aA==", "aGkh"], ["a", "hi!!"]),
        (
            Moment,
            [{"when": "2024-02-29T10:11:12Z", "at": None, "local": ["2024-02-28T10:11:12"]}],
            [
                {"when": "soon", "at": None, "local": []},
                {"when": "2024-02-29T10:11:12Z", "at": "noon", "local": []},
                {"when": "2024-02-29T10:11:12Z", "at": None, "local": ["soon"]},
            ],
        ),
        (
            Meeting,
            [{"moments": {}, "spans": ["2024-02-29T10:11:12Z", "P1D"]}],
            [
                {"moments": {}, "spans": ["soon", "P1D"]},
                {"moments": {"a": {"when": "soon", "at": None, "local": []}}, "spans": ["2024-02-29T10:11:12Z", "P1D"]},
            ],
        ),
    ],
    ids=str,
)
def test_times_numbers_and_bytes_are_what_the_type_can_hold(kind: Any, valid: list[Any], invalid: list[Any]) -> None:
    wanted = type_format(kind)
    for value in valid:
        assert accepts(wanted, json.dumps(value)), value
        instance(kind, json.dumps(value))
    for value in invalid:
        assert not accepts(wanted, json.dumps(value)), value


@pytest.mark.parametrize("kind", [dt.datetime, dt.time, dt.date, dt.timedelta, decimal.Decimal, bytes], ids=str)
def test_answers_of_these_types_are_instances(backend: DiceBackend, kind: Any) -> None:
    for seed in range(10):
        answer = backend.generate("When?", response_format=kind, seed=seed, max_tokens=200)
        assert answer.finish_reason == "length" or isinstance(answer.parsed, kind)


class Bag(msgspec.Struct):
    kinds: set[Literal["a", "b"]]
    more: frozenset[int] | None = None


def test_a_set_is_made_of_what_may_come_twice(backend: DiceBackend) -> None:
    twice = '{"kinds": ["a", "a", "b"], "more": [1, 1]}'
    assert accepts(Bag, twice)
    assert instance(Bag, twice) == Bag({"a", "b"}, frozenset({1}))
    wanted = Annotated[set[Literal["x", "y"]], msgspec.Meta(max_length=3)]
    answers = [backend.generate("x", response_format=wanted, seed=seed) for seed in range(5)]
    assert all(answer.parsed == set(json.loads(answer)) for answer in answers)
    for refused in (Annotated[set[int], msgspec.Meta(min_length=2)], Annotated[list[int], _DIFFERENT]):
        with pytest.raises(ConstraintError, match="uniqueItems"):
            backend.generate("x", response_format=refused)


_DIFFERENT = msgspec.Meta(extra_json_schema={"uniqueItems": True})


def test_without_a_type_it_is_plain_data(backend: DiceBackend) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    answer = backend.generate("x", response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    assert answer.parsed == json.loads(answer)
    assert answer.to_dict()["parsed"] == answer.parsed
    assert backend.generate("x", max_tokens=3).parsed is None
    assert backend.generate("x", response_format={"type": "choice", "choice": ["a"]}).parsed is None


def test_a_cut_answer_has_no_object(backend: DiceBackend) -> None:
    answer = backend.generate("x", response_format=Tree, max_tokens=3)
    assert (answer.finish_reason, answer.parsed) == ("length", None)


def test_the_result_can_be_stored(backend: DiceBackend) -> None:
    answer = backend.generate("x", response_format=Tree, seed=2)
    assert pickle.loads(pickle.dumps(answer)).parsed == answer.parsed
    assert json.loads(json.dumps(answer.to_dict()))["parsed"] == json.loads(answer)


def test_every_path_has_it(backend: DiceBackend) -> None:
    wanted: dict[str, Any] = {"response_format": Point, "seed": 3}
    point = backend.generate("x", wanted).parsed
    with backend.generate_stream("x", wanted) as stream:
        "".join(stream)
        assert stream.result.parsed == point
    assert backend.chat([{"role": "user", "content": "x"}], wanted).parsed == point
    assert [item.text.parsed for item in backend.generate_batch(["x"], wanted)] == [point]

    async def ask() -> Any:
        stream = backend.agenerate_stream("x", wanted)
        pieces = [piece async for piece in stream]
        return (await backend.agenerate("x", wanted)).parsed, stream.result.parsed, stream.partial, pieces

    whole, streamed, partial, _ = asyncio.run(ask())
    assert whole == streamed == point
    assert partial == msgspec.to_builtins(point)
    assert backend.render("x", parameters=wanted) == "x"


def test_partial_objects_grow(backend: DiceBackend) -> None:
    with backend.generate_stream("x", response_format=Tree, seed=4) as stream:
        assert stream.partial is None
        seen = [stream.partial for _ in stream]
        assert stream.partial == json.loads(stream.result)
    assert any(isinstance(each, dict) and "leaf" in each and "colour" not in each for each in seen)


def test_what_a_type_itself_refuses_is_an_error_with_the_text(backend: DiceBackend) -> None:
    with pytest.raises(InvalidAnswerError, match="never good enough") as caught:
        backend.generate("x", response_format=Picky)
    assert json.loads(caught.value.text)["on"] in {True, False}


@pytest.mark.parametrize("wrong", [object(), lambda: 1, complex])
def test_what_is_no_type_with_a_schema_is_refused(backend: DiceBackend, wrong: Any) -> None:
    with pytest.raises(ConstraintError, match="response_format"):
        backend.generate("x", response_format=wrong)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.data())
def test_every_beginning_has_a_value_that_is_part_of_the_whole(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.none() | st.just(1)))
    for end in range(len(text) + 1):
        assert is_part(partial_json(text[:end]), value), text[:end]
    assert partial_json(text + " ") == value


def is_part(partial: Any, value: Any) -> bool:
    if partial is None:
        return True
    if isinstance(partial, dict):
        return isinstance(value, dict) and all(
            name in value and is_part(partial[name], value[name]) for name in partial
        )
    if isinstance(partial, list):
        return isinstance(value, list) and all(map(is_part, partial, value))
    if isinstance(partial, str):
        return isinstance(value, str) and value.startswith(partial)
    return bool(partial == value)
