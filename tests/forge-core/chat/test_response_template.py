"""What a tokenizer's makers say of answers takes precedence over what its chat template shows."""

from __future__ import annotations

from typing import Any

import pytest

from llamaforge.chat import ChatTemplate, parse_answer
from support.chat_templates import PLAIN, TEMPLATES

TOOLS: list[dict[str, Any]] = [{"type": "function", "function": {"name": "now"}}]
THOUGHTS = {"open": "<musing>", "close": "</musing>"}


def told(**fields: Any) -> dict[str, Any]:
    return {"start_anchor": "<|assistant|>", "fields": {"content": {}, **fields}}


@pytest.mark.parametrize("field", ["thinking", "reasoning", "reasoning_content"])
def test_reasoning(field: str) -> None:
    compiled = ChatTemplate(TEMPLATES["hermes"], response_template=told(**{field: THOUGHTS}))
    text = '<musing>hm</musing>Hi.<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    answer = parse_answer(text, template=compiled, tools=TOOLS)
    assert (answer.content, answer.reasoning, len(answer.tool_calls)) == ("Hi.", "hm", 1)
    assert compiled.output_format().name == "hermes"
    assert parse_answer("<musing>hm</musing>Hi.", template=compiled).reasoning == "hm"


@pytest.mark.parametrize(
    ("begin", "end", "text", "name"),
    [
        ("<|tool_call>", "<tool_call|>", "<|tool_call>call:now{}<tool_call|>", "gemma-4"),
        ("[TOOL_CALLS][", "]", '[TOOL_CALLS][{"name": "now", "arguments": {}}]', "mistral-list"),
        ("<run>", "</run>", '<run>{"name": "now", "arguments": {}}</run>', "response-template"),
    ],
)
@pytest.mark.parametrize("template", [PLAIN, TEMPLATES["hermes"]])
def test_calls(template: str, begin: str, end: str, text: str, name: str) -> None:
    spec = told(tool_calls={"open": [begin, "unused"], "close": end, "content": "json", "repeats": True})
    compiled = ChatTemplate(template, response_template=spec)
    assert compiled.output_format(with_tools=True).name == name
    answer = parse_answer(f"Look: {text}", template=compiled, tools=TOOLS)
    assert (answer.content, [call.function.name for call in answer.tool_calls]) == ("Look:", ["now"])


@pytest.mark.parametrize("spec", [{}, {"fields": None}, {"fields": {"tool_calls": 1, "thinking": {"open": 2}}}])
def test_what_says_nothing_changes_nothing(spec: dict[str, Any]) -> None:
    plain = ChatTemplate(TEMPLATES["hermes"])
    assert ChatTemplate(TEMPLATES["hermes"], response_template=spec).output_format() == plain.output_format()
