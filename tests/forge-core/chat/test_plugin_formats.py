"""Formats of answers that plugins contribute."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from llamaforge.chat import ChatTemplate, parse_answer
from support.chat_templates import TEMPLATES, template
from support.plugins import make_distribution

MINE = """
    from llamaforge import hookimpl
    from llamaforge.chat import CallFormat, OutputFormat, ReasoningFormat

    @hookimpl
    def llamaforge_answer_format(name):
        if name == "wrong":
            return "no format"
        calls = CallFormat("@@", "", section="CALLS ", section_end="!", name_end="#", arguments="json", separator="")
        return OutputFormat(name, calls, ReasoningFormat("(thinks ", ")"))
"""
TEMPLATE = template(
    "CALLS {% for c in m.tool_calls %}@@{{ c.function.name }}#{{ c.function.arguments | tojson }}{% endfor %}!",
    ("(thinks ", ")"),
)
TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "look"}}]


@pytest.fixture
def plugin(plugin_folder: Path) -> Path:
    points = {"llamaforge.answer_formats": {"mine": "mine_formats", "wrong": "mine_formats", "gone": "no_such_module"}}
    make_distribution(plugin_folder, "mine", points, {"mine_formats": MINE})
    return plugin_folder


def test_a_plugins_format_is_found_like_any_other(plugin: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "llamaforge.chat"):
        compiled = ChatTemplate(TEMPLATE)
        assert compiled.output_format(with_tools=True).name == "mine"
    assert sorted({word for word in ("gone", "wrong", "mine'") if f"'{word}'" in caplog.text}) == ["gone", "wrong"]
    text = '(thinks hm) Hi. CALLS @@look#{"a": 1}@@look#{}!'
    answer = parse_answer(text, template=compiled, tools=TOOLS)
    assert (answer.content, answer.reasoning) == ("Hi.", "hm")
    assert [(call.function.name, json.loads(call.function.arguments)) for call in answer.tool_calls] == [
        ("look", {"a": 1}),
        ("look", {}),
    ]


def test_known_formats_are_still_found(plugin: Path) -> None:
    assert ChatTemplate(TEMPLATES["hermes"]).output_format(with_tools=True).name == "hermes"
