"""Which format a template has, and what it can do: found by rendering."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge.chat import BrokenTemplateError, ChatTemplate, parse_answer
from llamaforge.chat.families import FAMILIES
from support.chat_templates import PLAIN, TEMPLATES, template


def test_every_family_has_a_template_here() -> None:
    assert {form.name for form in FAMILIES} - {"deepseek-v4"} == TEMPLATES.keys()


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_format_is_recognised(name: str) -> None:
    found = ChatTemplate(TEMPLATES[name]).output_format(with_tools=True)
    assert found.name == name
    assert found.calls is None or found.calls.single == (name == "llama3-json")


@pytest.mark.parametrize("name", TEMPLATES)
def test_capabilities(name: str) -> None:
    able = ChatTemplate(TEMPLATES[name]).capabilities
    assert able.system
    assert able.tools
    assert able.tool_calls
    assert able.tool_results
    assert able.parallel_tool_calls == (name != "llama3-json")
    assert able.reasoning == (name not in ("llama3-json", "pythonic"))
    switches = {"hermes": "enable_thinking", "qwen3-coder": "enable_thinking", "deepseek-v3.1": "thinking"}
    assert able.reasoning_switch == switches.get(name, "")
    assert able.reasoning_effort == (name == "harmony")
    assert able.output_format == name


def test_a_plain_template_can_do_little() -> None:
    able = ChatTemplate(PLAIN).capabilities
    assert able.system
    names = ("tools", "tool_calls", "parallel_tool_calls", "reasoning", "reasoning_effort", "typed_content")
    assert not any(getattr(able, name) for name in names)
    assert able.output_format == "generic"


def test_several_named_templates() -> None:
    both = ChatTemplate({"default": PLAIN, "tool_use": TEMPLATES["hermes"]})
    assert both.output_format().name == "generic"
    assert both.output_format(with_tools=True).name == "hermes"
    assert both.capabilities.tools


@pytest.mark.parametrize(
    ("name", "variables", "is_open"),
    [("hermes", "", False), ("qwen3-coder", "<think>\n", True), ("deepseek-v3", "<think>\n", True)],
)
def test_whether_the_prompt_opens_the_reasoning(name: str, variables: str, is_open: bool) -> None:
    compiled = ChatTemplate(TEMPLATES[name])
    assert compiled.is_reasoning() == is_open
    assert compiled.is_reasoning("<|user|>What does <think> mean?<|end|>\n<|assistant|>\n" + variables) == is_open
    assert not compiled.is_reasoning("<|user|>Hi<|end|>\n<|assistant|>\n<think>\nI know.\n</think>\n")
    assert compiled.is_reasoning("<|user|>Hi<|end|>\n<|assistant|>\n<think>\nI am")


_EACH = "{% for c in m.tool_calls %}{% set f = c.function %}"
UNKNOWN = {
    "json between markers": (
        "<calls>" + _EACH + "<call>{{ f.name }}<args>{{ f.arguments | tojson }}</call>{% endfor %}</calls>",
        "<calls><call>look<args>{}</call><call>look<args>{}</call></calls>",
    ),
    "a list of objects": (
        "<TOOLS>[" + _EACH + '{"function_name": "{{ f.name }}", "values": {{ f.arguments | tojson }}}'
        "{{ ', ' if not loop.last }}{% endfor %}]</TOOLS>",
        '<TOOLS>[{"function_name": "look", "values": {}}, {"function_name": "look", "values": {}}]</TOOLS>',
    ),
    "tags": (
        "\n<mine:calls>\n" + _EACH + '<invoke name="{{ f.name }}">\n{% for k, v in f.arguments.items() %}'
        '<p name="{{ k }}">{{ v if v is string else v | tojson }}</p>\n{% endfor %}</invoke>\n{% endfor %}'
        "</mine:calls>",
        '<mine:calls>\n<invoke name="look">\n</invoke>\n<invoke name="look">\n</invoke>\n</mine:calls>',
    ),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_format_of_nobodys_is_derived(kind: str) -> None:
    calls, text = UNKNOWN[kind]
    compiled = ChatTemplate(template(calls))
    assert compiled.output_format(with_tools=True).name == "derived"
    tools = [{"type": "function", "function": {"name": "look"}}]
    answer = parse_answer(f"<think>\nhm\n</think>\n\nHi.{text}", template=compiled, tools=tools)
    assert (answer.content, answer.reasoning) == ("Hi.", "hm")
    assert [(call.function.name, call.function.arguments) for call in answer.tool_calls] == [("look", "{}")] * 2


@settings(max_examples=60, deadline=2000)
@given(
    st.sampled_from(sorted(TEMPLATES)),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 40), st.text(max_size=8))),
)
def test_damaged_templates_do_no_harm(name: str, changes: list[tuple[int, int, str]]) -> None:
    text = TEMPLATES[name]
    for place, length, instead in changes:
        text = text[:place] + instead + text[place + length :]
    try:
        compiled = ChatTemplate(text)
    except BrokenTemplateError:
        return
    compiled.capabilities  # noqa: B018 - it is found now
    compiled.is_reasoning()


def test_reasoning_that_is_shown_with_calls_alone() -> None:
    """As Kimi K2 Thinking does: earlier answers lose it."""
    shown = (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}<think>"
        "{{ m.reasoning_content if m.tool_calls }}</think>{% endif %}{{ m.content or '' }}"
        "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}<|end|>{% endfor %}"
    )
    compiled = ChatTemplate(shown)
    assert compiled.capabilities.reasoning
    answer = parse_answer("<think>hm</think>Hi.", template=compiled)
    assert (answer.content, answer.reasoning) == ("Hi.", "hm")
