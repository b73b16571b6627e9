"""Schemas, regular expressions and grammars: what they accept, beside jsonschema; what is refused; any input at all."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Literal

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge.constraints import accepts, grammar_accepts
from llamaforge.errors import ConstraintError, InvalidParameterError


def schema_format(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"schema": schema}}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"dependentRequired": {"a": ["b"]}}, ['{"b": 1}', '{"a": 1, "b": 1}', "1"], ['{"a": 1}']),
        ({"dependentSchemas": {"a": {"maxProperties": 1}}}, ['{"a": 1}', '{"b": 1, "c": 1}'], ['{"a": 1, "b": 2}']),
        ({"not": {"type": ["object", "array"]}}, ["1", '"x"', "null"], ["{}", "[]"]),
        ({"not": {"required": ["a"]}}, ["{}", '{"b": 1}'], ['{"a": 1}', "1"]),
        ({"if": True, "then": {"type": "string"}, "else": {"type": "null"}}, ['"x"'], ["null", "1"]),
        ({"propertyNames": {"pattern": "^a"}}, ["{}", '{"ab": 1}', "2"], ['{"b": 1}']),
        ({"propertyNames": {"enum": ["x.", "y"]}}, ['{"x.": 1}'], ['{"xz": 1}']),
        ({"properties": {"a": {}}, "unevaluatedProperties": False}, ['{"a": 1}'], ['{"b": 1}']),
        ({"prefixItems": [{}], "unevaluatedItems": {"type": "null"}}, ["[1, null]"], ["[1, 2]"]),
        ({"uniqueItems": True, "maxItems": 1}, ["[1]"], ["[1, 1]"]),
        ({"minLength": 2.0, "type": "string"}, ['"ab"'], ['"a"']),
        ({"then": {"type": "string"}, "maxContains": 1}, ["1", "[1, 2]"], []),
    ],
)
def test_what_is_rewritten_means_the_same(schema: Any, good: list[str], bad: list[str]) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    for text in [*good, *bad]:
        assert validator.is_valid(json.loads(text)) is (text in good)
        assert accepts(schema_format(schema), text) is (text in good), text


@pytest.mark.parametrize(
    ("schema", "place", "names"),
    [
        ({"uniqueItems": True}, "", "uniqueItems"),
        ({"properties": {"a": {"not": {"const": 1}}}}, "/properties/a", "not"),
        ({"anyOf": [{}, {"items": {"contains": {}}}]}, "/anyOf/1/items", "contains"),
        ({"items": {"if": {"type": "null"}, "then": False}}, "/items", "if"),
        ({"properties": {"a~": {"pattern": "a(?=b)"}}}, "/properties/a~0", "look"),
        ({"$ref": "https://example.com/schema"}, "", "example.com"),
        ({"minProperties": 2}, "/minProperties", "twice"),
    ],
)
def test_what_cant_be_enforced_is_refused_by_name_and_place(schema: Any, place: str, names: str) -> None:
    with pytest.raises(ConstraintError, match=names) as caught:
        accepts(schema_format(schema), "1")
    assert caught.value.place == f"/json_schema/schema{place}"


@pytest.mark.parametrize(
    "schema", [{"$ref": "#"}, {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}]
)
def test_a_schema_that_only_refers_to_itself_is_refused(schema: Any) -> None:
    with pytest.raises(ConstraintError, match="only refers to itself"):
        accepts(schema_format(schema), "1")


def test_an_unknown_format_is_an_annotation_and_a_known_one_is_enforced() -> None:
    assert accepts(schema_format({"type": "string", "format": "emoji"}), '"x"')
    assert not accepts(schema_format({"type": "string", "format": "date"}), '"x"')
    assert accepts(schema_format({"type": "string", "format": "date"}), '"2026-11-29"')


def test_any_white_space_and_any_spelling_of_a_string() -> None:
    wanted = schema_format({"type": "object", "properties": {"é": {"const": "a"}}, "additionalProperties": False})
    for text in ('{"é":"a"}', '\n{\n  "é" : "a"\n}\n', '{"\\u00e9": "\\u0061"}'):
        assert accepts({"type": "json_object"}, text)
        if "\\u" not in text:
            assert accepts(wanted, text)


def test_the_other_formats() -> None:
    assert accepts({"type": "text"}, "anything")
    assert accepts({"type": "regex", "regex": "a/b|\\d+"}, "a/b")
    assert not accepts({"type": "regex", "regex": "ab"}, "xab")
    assert accepts({"type": "choice", "choice": ['"', "yes"]}, '"')
    assert not accepts({"type": "choice", "choice": ["yes"]}, "ye")
    many = [f"choice {number}" for number in range(5000)]
    assert accepts({"type": "choice", "choice": many}, "choice 4711")


def test_lark_and_gbnf() -> None:
    for grammar in ('start: "a" "b"+', 'root ::= "a" "b"+', 'root ::= "a" more\nmore ::= "b" more | "b"'):
        assert grammar_accepts(grammar, "abb")
        assert not grammar_accepts(grammar, "a")
    assert grammar_accepts('root ::= [a-z]* "end"', "friendend")
    assert grammar_accepts('root ::= "(" root ")" | [^()]', "((\n))")
    assert grammar_accepts('root ::= "\\x41\\u00e9" .', "Aé\n")


def test_what_is_no_lark_is_refused_at_its_place() -> None:
    for grammar, reason in (
        ("start: a\na: nope", 'line 2, column 4: unknown name: "nope"'),
        ("start", "line 1, column 6"),
    ):
        with pytest.raises(ConstraintError, match=re.escape(f"grammar: {reason}")):
            grammar_accepts(grammar, "a")


@pytest.mark.parametrize(
    ("grammar", "place", "reason"),
    [
        ('root ::= "a', "line 1, column 10", "not closed"),
        ('root ::= "a"\nx ::= y', "line 2, column 7", "no rule 'y'"),
        ('x ::= "a"', "line 1, column 1", "'root'"),
        ("root ::= [z-a]", "line 1", "empty"),
        ('root ::= "a"{3,2}', "line 1", "repetition"),
        ('root ::= "\\q"', "line 1", "escape"),
        (f"root ::= {'(' * 99}", "line 1", "nested"),
    ],
)
def test_what_is_no_gbnf_is_refused_at_its_place(grammar: str, place: str, reason: str) -> None:
    with pytest.raises(ConstraintError, match=reason) as caught:
        grammar_accepts(grammar, "a")
    assert caught.value.place.startswith(place)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {}},
        {"type": "json_schema", "json_schema": {"schema": []}},
        {"type": "json_schema", "json_schema": {"schema": {}, "strict": "yes"}},
        {"type": "json_schema", "json_schema": {"schema": {"const": float("nan")}}},
        {"type": "regex", "regex": 3},
        {"type": "regex", "regex": "\ud800"},
        {"type": "regex", "regex": "a" * (1 << 21)},
        {"type": "choice", "choice": []},
        {"type": "choice", "choice": ["a", ""]},
        {"type": "choice", "choice": "ab"},
        {"type": "text", "regex": "a"},
    ],
)
def test_a_format_of_another_shape_is_refused(wrong: Any) -> None:
    with pytest.raises(ConstraintError, match="response_format"):
        accepts(wrong, "x")


def test_a_deep_schema_is_refused() -> None:
    schema: Any = {}
    for _ in range(500):
        schema = {"items": schema}
    with pytest.raises(ConstraintError, match=r"deep|nested|recursion"):
        accepts(schema_format(schema), "[]")


SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "bc", ""])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)},
        optional={"required": st.lists(st.sampled_from("abc"), unique=True), "additionalProperties": inner},
    )


SCHEMAS = st.recursive(
    st.booleans()
    | st.fixed_dictionaries({"type": st.sampled_from(["null", "boolean", "integer", "string", "object", "array"])})
    | st.fixed_dictionaries({"enum": st.lists(SCALARS, min_size=1, max_size=3)})
    | st.fixed_dictionaries({"minimum": st.integers(-2, 2), "maxLength": st.integers(0, 2)}),
    lambda inner: (
        _objects(inner)
        | st.fixed_dictionaries({"items": inner, "maxItems": st.integers(0, 3)})
        | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=2)})
        | st.fixed_dictionaries({"dependentRequired": st.just({"a": ["b"]}), "not": st.just({"type": "null"})})
    ),
    max_leaves=6,
)


@settings(max_examples=300)
@given(SCHEMAS, VALUES)
def test_what_is_accepted_is_valid(schema: Any, value: Any) -> None:
    text = json.dumps(value)
    try:
        accepted = accepts(schema_format(schema), text)
    except ConstraintError:
        return
    if accepted:
        jsonschema.validate(value, schema)


PIECES = ["a", "(", ")", "[a-z]", "[^", "*", "+", "{2,5}", "|", ".", "\\", "^", "(?=", "\\p{L}", "/", "\n", '"', "é"]
WORDS = [
    '"a"',
    "[a-z]",
    "/b/",
    "(",
    ")",
    "|",
    "*",
    "+",
    "{9}",
    "root",
    "start",
    "::=",
    ":",
    "\n",
    "#",
    "%ignore",
    "<[5]>",
]


def test_a_remote_reference_is_refused_by_name() -> None:
    schema = {"$ref": "http://there/schema.json"}
    with pytest.raises(ConstraintError, match=r"the \$ref 'http://there/schema.json' is in another document"):
        accepts({"type": "json_schema", "json_schema": {"schema": schema}}, "{}")


@pytest.mark.parametrize(("regex", "reason"), [("(", "unclosed group."), ("(?=a)b", "look-around, including")])
def test_an_invalid_regex_is_refused_by_place(regex: str, reason: str) -> None:
    with pytest.raises(ConstraintError, match=rf"^response_format at /regex: {reason}") as caught:
        accepts({"type": "regex", "regex": regex}, "a")
    assert caught.value.place == "/regex"


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=10), st.lists(st.sampled_from(WORDS), max_size=14))
def test_any_regex_and_any_grammar_are_read_or_refused(pieces: list[str], words: list[str]) -> None:
    for ask in (
        lambda: accepts({"type": "regex", "regex": "".join(pieces)}, "aa"),
        lambda: grammar_accepts(" ".join(words), "a"),
    ):
        with suppress(ConstraintError):
            assert ask() in (True, False)


@settings(max_examples=200)
@given(
    st.recursive(
        SCALARS,
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "allOf",
                        "not",
                        "if",
                        "properties",
                        "items",
                        "required",
                        "minProperties",
                        "dependentRequired",
                        "$ref",
                        "type",
                    ]
                ),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_any_schema_is_read_or_refused(schema: Any) -> None:
    with suppress(ConstraintError):
        accepts(schema_format(schema), "{}")


class City(msgspec.Struct):
    name: str
    size: Literal["small", "large"] = "small"


def test_a_python_type_is_a_format() -> None:
    assert accepts(City, '{"name": "Rome", "size": "large"}')
    assert not accepts(City, '{"name": "Rome", "size": "huge"}')
    assert not accepts(City, '{"name": "Rome", "area": 1285}')
    assert accepts(list[int], "[1, 2]")
    with pytest.raises(ConstraintError, match="complex"):
        accepts(complex, "1")


@pytest.mark.parametrize("wrong", ["json", None, 5, b"{}", ["a"]])
def test_what_is_no_format_is_refused(wrong: Any) -> None:
    with pytest.raises(ConstraintError, match="must be a mapping"):
        accepts(wrong, "1")


def test_what_is_no_text_is_refused_or_no_answer() -> None:
    for wrong in (b"1", None, 1):
        with pytest.raises(InvalidParameterError, match="text must be a string"):
            accepts(schema_format({}), wrong)  # type: ignore[arg-type]
    assert not accepts(schema_format({}), '"\ud800"'), "half of a surrogate pair"
    assert accepts(schema_format({}), '"\\ud83d\\ude00"')


@pytest.mark.parametrize("text", ['"é/😀"', r'"\u00e9\/\uD83D\ude00"'])
def test_names_and_constants_have_any_spelling(text: str) -> None:
    schema = {"type": "object", "properties": {"é/😀": {}}, "required": ["é/😀"], "additionalProperties": False}
    assert accepts(schema_format(schema), f"{{{text}: 1}}")
    assert accepts(schema_format({"const": "é/😀"}), text)
    assert accepts(schema_format({"enum": ["a", "é/😀"]}), text)
    assert accepts(schema_format({"type": "string", "pattern": "^.{3}$"}), text)
    assert not accepts(schema_format({"const": "e"}), text)


@pytest.mark.parametrize(
    "text", [r'"\ud800"', r'"\ude00\ud83d"', r'"\u00"', r'"\x"', '"\n"', '"a', 'a"', '"a""b"', '"\\"', r'"\"' * 100_000]
)
def test_strings_that_are_none(text: str) -> None:
    assert not accepts(schema_format({}), text)


def of_many(count: int, **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {f"p{index}": {"type": "string"} for index in range(count)}, **more}
    return {"type": "json_schema", "json_schema": {"name": "many", "schema": schema}}


def test_very_many_properties() -> None:
    """A schema that is too large to be followed is refused at once, and never taken for one that refuses the text."""
    names = [f"p{index}" for index in range(2000)]
    assert accepts(of_many(2000, required=names), json.dumps(dict.fromkeys(names, "")))
    two = [
        of_many(400)["json_schema"]["schema"],
        {"type": "object", "properties": {f"q{name}": {} for name in names[:400]}},
    ]
    with pytest.raises(ConstraintError, match="can't be followed to the end of an answer"):
        accepts({"type": "json_schema", "json_schema": {"schema": {"anyOf": two}}}, "{}")


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(("most", "required"), [(498, []), (666, ["z"])])
def test_what_is_too_many_is_refused_at_once(most: int, required: list[str], closed: bool) -> None:
    """And what isn't refused at once can be followed to its end, by all ways."""
    more = {"required": required, **({} if required or not closed else {"additionalProperties": False})}
    last = dict.fromkeys(required, "")
    for text in (last, {"p0": "", **last}, {f"p{most - 1}": "", **last}, {"p0": "", f"p{most - 1}": "", **last}):
        assert accepts(of_many(most, **more), json.dumps(text))
    for count in (most + 1, 20_000):
        reason = f"more than {most} properties in a row may be left out"
        with pytest.raises(ConstraintError, match=reason) as caught:
            accepts(of_many(count, **more), "{}")
        assert caught.value.place.endswith("/properties")
