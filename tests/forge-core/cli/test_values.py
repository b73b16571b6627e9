"""``name=value``: read as JSON or TOML where it is either, else as text; nothing makes it fail."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge.cli.values import parse_pairs, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4096", 4096),
        ("-1", -1),
        ("1_000", 1000),
        ("0x10", 16),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("true", True),
        ("True", True),
        ("False", False),
        ("null", None),
        ('"8"', "8"),
        ("'8'", "8"),
        ("[1, 2]", [1, 2]),
        ('["a"]', ["a"]),
        ('{"a": 1}', {"a": 1}),
        ("{a = 1}", {"a": 1}),
        ("f16", "f16"),
        ("", ""),
        ("a=b", "a=b"),
        ("env:OPENAI_API_KEY", "env:OPENAI_API_KEY"),
        ("https://example.test/v1?x=1#y", "https://example.test/v1?x=1#y"),
        ("2024-01-01", "2024-01-01"),
        ("/models/a b.gguf", "/models/a b.gguf"),
        ("1\nother = 2", "1\nother = 2"),
        ("007", "007"),
        ("[" * 5000, "[" * 5000),
    ],
)
def test_parse_value(text: str, value: Any) -> None:
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


@given(st.text())
def test_any_text_is_some_value(text: str) -> None:
    parse_value(text)


@settings(max_examples=50)
@given(
    st.recursive(
        st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_is_read_as_json(value: Any) -> None:
    assert parse_value(json.dumps(value)) == value


@given(st.text(min_size=1).filter(lambda name: "=" not in name and name.strip() == name), st.text())
def test_a_pair_is_cut_at_its_first_equals_sign(name: str, value: str) -> None:
    assert parse_pairs(_CONTEXT, _OPTION, [f"{name}={value}"]) == {name: parse_value(value)}


@pytest.mark.parametrize("given", ["sk-canary-0123456789", "=sk-canary-0123456789"])
def test_what_is_no_pair_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        parse_pairs(_CONTEXT, _OPTION, [given])
    assert "canary" not in caught.value.format_message()


_OPTION = click.Option(["-p"])
_CONTEXT = click.Context(click.Command("test"))
