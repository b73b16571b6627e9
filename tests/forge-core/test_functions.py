"""Python functions as tools: schemas from signatures and docstrings, calls from a model's arguments."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest

from llamaforge import Tool, tool
from llamaforge.errors import InvalidParameterError
from llamaforge.functions import as_tool, read_tools, to_text
from llamaforge.requests import read_request


class Unit(enum.Enum):
    CELSIUS = "c"
    KELVIN = "k"


@dataclasses.dataclass
class Place:
    city: str
    country: str = "IT"


class Range(TypedDict):
    first: int
    last: int


def get_weather(
    place: Place,
    days: Annotated[int, msgspec.Meta(ge=1, le=7)] = 1,
    unit: Unit = Unit.CELSIUS,
    *,
    when: Range | None = None,
    detail: Literal["low", "high"] = "low",
) -> str:
    """Tell the weather
    in a place.

    Longer talk that the model need not read.

    Args:
        place: where,
            with its country.
        days (int): how many days.
        unit: of the temperature

    Returns:
        str: words.
    """
    return f"{place.city} {place.country} {days} {unit.name} {when} {detail}"


def test_the_schema_of_a_signature() -> None:
    made = as_tool(get_weather)
    assert made.name == "get_weather"
    assert made.description == "Tell the weather in a place."
    schema = made.parameters
    assert schema["required"] == ["place"]
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert list(properties) == ["place", "days", "unit", "when", "detail"], "in the signature's order"
    assert properties["place"] == {"$ref": "#/$defs/Place", "description": "where, with its country."}
    assert properties["days"] == {"type": "integer", "minimum": 1, "maximum": 7, "description": "how many days."}
    assert properties["unit"]["description"] == "of the temperature"
    assert properties["detail"] == {"enum": ["high", "low"]}
    assert schema["$defs"]["Unit"]["enum"] == ["c", "k"]
    assert schema["$defs"]["Place"]["required"] == ["city"]


def test_objects_in_arguments_have_no_other_properties() -> None:
    def move(when: dt.date, to: list[Place], price: decimal.Decimal) -> None: ...

    schema = as_tool(move).parameters
    assert schema["$defs"]["Place"]["additionalProperties"] is False
    assert schema["properties"]["when"] == {"type": "string", "format": "date"}, "models read it: no long pattern"
    assert "pattern" in schema["properties"]["price"], "the format would enforce nothing"


@pytest.mark.parametrize("parameters", ["x", 5, [], True])
def test_parameters_that_are_no_schema_are_refused(parameters: object) -> None:
    with pytest.raises(InvalidParameterError, match=r"tools\[1\]\.function\.parameters must be a JSON schema"):
        read_tools([get_weather, {"type": "function", "function": {"name": "f", "parameters": parameters}}])


def test_arguments_have_the_types_of_the_signature() -> None:
    made = as_tool(get_weather)
    assert made.call('{"place": {"city": "Rome"}}') == "Rome IT 1 CELSIUS None low"
    given = {"place": {"city": "Rome"}, "unit": "k", "when": {"first": 1, "last": 2}, "detail": "high", "days": 3}
    assert made.call(json.dumps(given)) == "Rome IT 3 KELVIN {'first': 1, 'last': 2} high"


@pytest.mark.parametrize(
    "bad",
    ['{"place": 1}', "{}", '{"place": {"city": "R"}, "days": 8}', '{"place": {"city": "R"}, "x": 1}', "no"],
)
def test_arguments_that_do_not_fit_are_refused(bad: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        as_tool(get_weather).call(bad)


def test_other_docstrings() -> None:
    def numpy(a: int, b: str = "") -> None:
        """Do it.

        Parameters
        ----------
        a : int
            The first.
        b : str, optional
            The second,
            and more.

        Returns
        -------
        None
        """

    def sphinx(a: int, b: str = "") -> None:
        """Do it.

        :param a: The first.
        :param str b: The second,
            and more.
        :returns: nothing
        """

    for each in (numpy, sphinx):
        made = as_tool(each)
        assert made.description == "Do it."
        told = {name: value["description"] for name, value in made.parameters["properties"].items()}
        assert told == {"a": "The first.", "b": "The second, and more."}, each.__name__


def test_the_decorator_says_more() -> None:
    @tool(name="look-up", description="Looks it up.", strict=False)
    def anything(query, /, limit: int = 3):  # type: ignore[no-untyped-def]
        return [query, limit]

    assert anything("a") == ["a", 3], "the function stays as it is"
    made = as_tool(anything)
    assert made.to_dict()["function"] == {
        "name": "look-up",
        "description": "Looks it up.",
        "parameters": {
            "type": "object",
            "properties": {"query": {}, "limit": {"type": "integer"}},
            "required": ["query"],
            "additionalProperties": False,
        },
        "strict": False,
    }
    assert made.call('{"query": {"x": 1}}') == [{"x": 1}, 3]


def test_methods_objects_and_tools() -> None:
    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        def buy(self, thing: str) -> str:
            """Buy something."""
            return f"{thing} at {self.name}"

        @tool(name="sell")
        def sell(self, thing: str) -> str:
            """Sell something."""
            return f"{thing} from {self.name}"

        def __call__(self, count: int) -> int:
            return count * 2

    shop = Shop("Ada's")
    assert as_tool(shop.buy).call('{"thing": "tea"}') == "tea at Ada's"
    assert as_tool(shop.sell).call('{"thing": "tea"}') == "tea from Ada's"
    assert as_tool(shop.sell).name == "sell"
    assert as_tool(shop).call('{"count": 4}') == 8
    made = as_tool(shop.buy)
    assert as_tool(made) is made
    assert isinstance(made, Tool)


def test_pydantic_models() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Person(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        name: str
        age: int = 1

    def greet(person):  # type: ignore[no-untyped-def]
        return person

    greet.__annotations__["person"] = Person
    made = as_tool(greet)
    assert made.call('{"person": {"name": "Ada"}}') == Person(name="Ada")
    assert to_text(Person(name="Ada")) == '{"name":"Ada","age":1}'
    assert made.parameters["properties"]["person"]["required"] == ["name"]


def bad_varargs(*words: str) -> None: ...
def bad_keywords(**words: str) -> None: ...
def bad_type(thing: object, other: pytest.MonkeyPatch) -> None: ...
def bad_hint(thing: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("bad", [bad_varargs, bad_keywords, bad_type, bad_hint, lambda x: x, "text", 3])
def test_what_is_no_tool_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidParameterError, match="tools"):
        as_tool(bad)


def test_what_cannot_be_marked_is_refused() -> None:
    class Clock:
        def now(self) -> str:
            """The time."""
            return "noon"

    with pytest.raises(InvalidParameterError, match="decorate a method in its class"):
        tool(Clock().now)
    assert as_tool(Clock().now).call("{}") == "noon"


def test_requests_take_functions() -> None:
    request = read_request("Hi", parameters={"tools": [get_weather, {"type": "function", "function": {"name": "f"}}]})
    assert request.tools is not None
    assert [each["function"]["name"] for each in request.tools] == ["get_weather", "f"]
    with pytest.raises(InvalidParameterError, match="has the name of another tool"):
        read_tools([get_weather, get_weather])


def test_results_are_text() -> None:
    assert to_text("a") == "a"
    assert to_text({"a": [1, None]}) == '{"a":[1,null]}'
    assert to_text(None) == "null"
    assert to_text(Place("Rome")) == '{"city":"Rome","country":"IT"}'
    assert "object" in to_text(object())


@pytest.mark.parametrize("wrong", [{}, {"type": "function"}, {"function": {"name": ""}}, {"function": "f"}])
def test_a_mapping_that_is_no_tool_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidParameterError, match=r"tools\[0\] must be a tool such as"):
        read_tools([wrong])
    custom = {"type": "custom", "custom": {"name": "f"}}
    assert read_tools([custom]) == ([custom], {}), "a kind of tool that only some server knows"
