"""The parts of answers, in the notations of all families, however the text is cut."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llamaforge.chat import Answer, AnswerParser, ChatTemplate, parse_answer
from llamaforge.chat.answer_reader import AnswerReader, Collector
from llamaforge.errors import InvalidParameterError
from llamaforge.results import TextDelta, ToolCallDelta
from support.chat_templates import PLAIN, TEMPLATES

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "unit": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "where": {"type": "object"},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
    {"type": "function", "function": {"name": "run", "parameters": {"properties": {"code": {"$ref": "#/$defs/code"}},
     "$defs": {"code": {"type": "string"}}}}},
]  # fmt: skip
COMPILED = {name: ChatTemplate(text) for name, text in {**TEMPLATES, "generic": PLAIN}.items()}
Calls = list[tuple[str, Any]]

FIXTURES: list[tuple[str, str, str, str, Calls]] = [
    (each["format"], each["text"], each["content"], each["reasoning"], [(name, value) for name, value in each["calls"]])
    for each in json.loads((Path(__file__).parent / "answers.json").read_text(encoding="utf-8"))
]
"""Format, text, content, reasoning, calls. Texts of templates that open the reasoning begin within it."""


def parse(
    name: str,
    text: str,
    cuts: list[int] | None = None,
    tools: list[dict[str, Any]] | None = None,
    *,
    cut: bool = False,
) -> Answer:
    parser = AnswerParser(template=COMPILED[name], tools=TOOLS if tools is None else tools, id_seed=1)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts or ())})
    for begin, end in itertools.pairwise(places):
        parser.feed(text[begin:end])
    parser.finish(cut=cut)
    return parser.answer


def calls_of(answer: Answer) -> Calls:
    return [(call.function.name, json.loads(call.function.arguments)) for call in answer.tool_calls]


@pytest.mark.parametrize(("name", "text", "content", "reasoning", "calls"), FIXTURES)
def test_the_parts(name: str, text: str, content: str, reasoning: str, calls: Calls) -> None:
    answer = parse(name, text)
    assert (answer.content, answer.reasoning, calls_of(answer)) == (content, reasoning, calls)
    ids = [call.id for call in answer.tool_calls]
    assert len(set(ids)) == len(ids)
    assert all(ids)
    assert parse(name, text, list(range(len(text)))) == answer, "one character at a time"


MARKERS = sorted({word for _, text, *_ in FIXTURES for word in text.replace("<", " <").replace(">", "> ").split()})


@settings(max_examples=150, deadline=2000)
@given(
    st.sampled_from(sorted(COMPILED)),
    st.lists(
        st.one_of(st.sampled_from(MARKERS), st.text(max_size=5), st.sampled_from(list('{}[]()",:=\n\\'))), max_size=14
    ),
    st.lists(st.integers(0, 400), max_size=20),
)
@example("mistral", ["[TOOL_CALLS]", "["], [])
@example("gemma-4", ["<|tool_call>call:f", "{a:" * 400], [])
@example("pythonic", ["[now(a=", "[" * 3000], [1])
def test_every_chunking_gives_the_same(name: str, words: list[str], cuts: list[int]) -> None:
    text = "".join(words)
    whole = parse(name, text)
    assert parse(name, text, cuts) == whole
    assert parse(name, text, list(range(len(text)))) == whole


@settings(max_examples=60, deadline=2000)
@given(st.sampled_from(FIXTURES), st.lists(st.integers(0, 400), max_size=20), st.integers(0, 400))
def test_a_cut_answer_keeps_its_parts(fixture: tuple[str, str, str, str, Calls], cuts: list[int], stop: int) -> None:
    name, text, _, reasoning, calls = fixture
    answer = parse(name, text[:stop], cuts)
    assert answer == parse(name, text[:stop])
    assert len(answer.tool_calls) <= len(calls)
    assert reasoning.startswith(answer.reasoning)
    for call, (known, arguments) in zip(answer.tool_calls, calls, strict=False):
        assert call.function.name == known
        if call is not answer.tool_calls[-1]:
            assert json.loads(call.function.arguments) == arguments


ONLY_CALLS = [fixture for fixture in FIXTURES if fixture[4] and not fixture[2]]


@pytest.mark.parametrize(("name", "text", "content", "reasoning", "calls"), ONLY_CALLS)
def test_calls_that_are_cut_anywhere_leave_no_content(
    name: str, text: str, content: str, reasoning: str, calls: Calls
) -> None:
    form = COMPILED[name].output_format(with_tools=True)
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") for tool in TOOLS}
    opened = COMPILED[name].is_reasoning(with_tools=True)

    def read(pieces: Iterable[str], *, cut: bool) -> Answer:
        reader, collector = AnswerReader(form, tools=schemas, is_reasoning=opened, only_calls=True), Collector()
        for piece in pieces:
            collector.add(reader.feed(piece))
        collector.add(reader.finish(cut=cut))
        return collector.answer

    whole = read([text], cut=False)
    assert calls_of(whole) == calls
    told = ""
    for stop in range(len(text) + 1):
        answer = read([text[:stop]], cut=True)
        assert answer.content == "", text[:stop]
        assert answer.reasoning.startswith(reasoning) or reasoning.startswith(answer.reasoning)
        for call, known in zip(answer.tool_calls, whole.tool_calls, strict=False):
            assert call.function.name == known.function.name
            assert known.function.arguments.startswith(call.function.arguments), text[:stop]
        so_far = "".join(f"{call.function.name}{call.function.arguments}" for call in answer.tool_calls)
        assert len(so_far) >= len(told), text[:stop]
        told = so_far
        assert shape(read(text[:stop], cut=True)) == shape(answer), "one character at a time"
    assert shape(read([text], cut=True)) == shape(whole), "cut where it was whole"


def shape(answer: Answer) -> Any:
    calls = [(call.function.name, call.function.arguments) for call in answer.tool_calls]
    return answer.content, answer.reasoning, calls


@settings(max_examples=150, deadline=2000)
@given(st.sampled_from(FIXTURES), st.integers(0, 400), st.lists(st.integers(0, 400), max_size=20))
def test_a_call_that_was_begun_and_cut_is_no_content(
    fixture: tuple[str, str, str, str, Calls], stop: int, cuts: list[int]
) -> None:
    name, text, content, *_ = fixture
    stop = min(stop, len(text))
    answer = parse(name, text[:stop], cuts, cut=True)
    assert shape(answer) == shape(parse(name, text[:stop], cut=True))
    begun = text[:stop]
    markers = COMPILED[name].output_format(with_tools=True).markers()
    assert len(answer.content) <= len(content) + max(map(len, markers), default=0)
    if stop == len(text):
        assert answer.content.strip() == content.strip(), begun


def test_a_text_that_was_not_cut_keeps_everything() -> None:
    for text in ("Use <tool_call>", "<tool_call>\n{", '<tool_call>\n{"name": "now", "arg'):
        assert parse("hermes", text).content == text
    assert parse("hermes", "1 <", cut=True).content == "1 <", "nothing was begun yet"
    assert parse("hermes", "Look:\n<tool_call>\n{", cut=True).content == "Look:\n"
    assert parse("hermes", "Write <tool_call> for", cut=True).content == "Write <tool_call> for"


def test_long_arguments_stream() -> None:
    code = "print('hello')\n" * 200
    texts = {
        "hermes": '<tool_call>\n{"name": "run", "arguments": ' + json.dumps({"code": code}) + "}\n</tool_call>",
        "qwen3-coder": f"</think><tool_call>\n<function=run>\n<parameter=code>\n{code}\n</parameter>\n</function>\n",
        "gemma-4": f'<|tool_call>call:run{{code:<|"|>{code}<|"|>}}<tool_call|>',
        "pythonic": f"[run(code={json.dumps(code)})]",
    }
    for name, text in texts.items():
        parser = AnswerParser(template=COMPILED[name], tools=TOOLS)
        silent = longest = 0
        for begin in range(0, len(text), 10):
            silent = 0 if parser.feed(text[begin : begin + 10]) else silent + 1
            longest = max(longest, silent)
        parser.finish()
        assert longest < 12, name
        assert calls_of(parser.answer) == [("run", {"code": code})]
    for key, written, value in (
        ("rows", json.dumps([[1, "x", None]] * 300), [[1, "x", None]] * 300),
        ("any", code, code),
    ):
        parser = AnswerParser(template=COMPILED["qwen3-coder"], tools=ROWS)
        parser.feed(f"</think><tool_call>\n<function=rows>\n<parameter={key}>\n")
        silent = [bool(parser.feed(written[begin : begin + 10])) for begin in range(0, len(written), 10)]
        assert silent[:25] == [False] * 25, "it may yet be something else"
        assert all(any(silent[begin : begin + 3]) for begin in range(27, len(silent) - 3))
        parser.feed("\n</parameter>\n</function>\n")
        parser.finish()
        assert calls_of(parser.answer) == [("rows", {key: value.strip() if isinstance(value, str) else value})]


_PARAMETERS = {
    "rows": {"type": "array"},
    "where": {"type": "object"},
    "any": {},
    "mixed": {"type": ["string", "integer"]},
}
ROWS = [{"type": "function", "function": {"name": "rows", "parameters": {"properties": _PARAMETERS}}}]
MIXED_ROWS = [["é \\", 'say "x"', 1.5e3]] * 60
ENDS = {f"k{number}": "</arg_value></parameter>" for number in range(30)}
WORDS = [{"True": "None", "b": True}, None, *["true"] * 60, False]
VALUES: list[tuple[str, str, Any]] = [
    ("rows", json.dumps(MIXED_ROWS), MIXED_ROWS),
    ("rows", '[{"True": "None", "b": True}, None, ' + '"true", ' * 60 + "False]", WORDS),
    ("rows", "['a', True]", ["a", True]),
    ("where", json.dumps(ENDS), ENDS),
    ("any", "it is a long text, " * 30, ("it is a long text, " * 30).strip()),
    ("any", "7" * 300, int("7" * 300)),
    ("any", json.dumps([1] * 200), [1] * 200),
    ("any", "{ not JSON, " * 30, ("{ not JSON, " * 30).strip()),
    ("mixed", "5 times " * 50, ("5 times " * 50).strip()),
    ("mixed", "12", 12),
]


@pytest.mark.parametrize(("key", "written", "value"), VALUES)
def test_values_between_tags(key: str, written: str, value: Any) -> None:
    texts = {
        "qwen3-coder": f"</think><function=rows>\n<parameter={key}>\n{written}\n</parameter>\n</function>\n",
        "glm-4": f"<tool_call>rows\n<arg_key>{key}</arg_key>\n<arg_value>{written}</arg_value>\n</tool_call>",
    }
    for name, text in texts.items():
        answer = parse(name, text, tools=ROWS)
        assert calls_of(answer) == [("rows", {key: value})]
        for size in (1, 3, 40):
            assert parse(name, text, list(range(0, len(text), size)), tools=ROWS) == answer
        arguments = answer.tool_calls[0].function.arguments
        for stop in range(20, len(text), 7):
            cut = parse(name, text[:stop], tools=ROWS, cut=True)
            assert cut.content == ""
            assert all(arguments.startswith(call.function.arguments) for call in cut.tool_calls)


def test_long_answers_take_linear_time() -> None:
    text = (
        '<tool_call>\n{"name": "run", "arguments": {"code": "'
        + "x\\n" * 100_000
        + '"}}\n</tool_call>'
        + "words " * 50_000
    )
    parser = AnswerParser(template=COMPILED["hermes"], tools=TOOLS)
    started = time.process_time()
    for begin in range(0, len(text), 4):
        parser.feed(text[begin : begin + 4])
    assert time.process_time() - started < 20, "some 150,000 pieces"
    parser.finish()
    assert len(parser.answer.content) == 300_000


def test_text_arrives_at_once() -> None:
    parser = AnswerParser(template=COMPILED["hermes"], tools=TOOLS)
    assert parser.feed("Hello") == [TextDelta("Hello")]
    assert parser.feed(" <tool") == [], "it may become a call"
    assert parser.feed("s>") == [TextDelta(" <tools>")]


def test_calls_arrive_in_pieces() -> None:
    parser = AnswerParser(template=COMPILED["hermes"], tools=TOOLS, id_seed=3)
    events = parser.feed('<tool_call>{"name": "get_weather", "arguments": {"ci')
    assert all(isinstance(event, ToolCallDelta) and event.index == 0 for event in events)
    first = events[0]
    assert isinstance(first, ToolCallDelta)
    assert first.name == "get_weather"
    assert first.id == AnswerIds.of(3)
    more = parser.feed('ty": "Rome"}')
    assert (
        "".join(event.arguments for event in [*events, *more] if isinstance(event, ToolCallDelta)) == '{"city": "Rome"}'
    )
    assert all(not event.id and not event.name for event in more if isinstance(event, ToolCallDelta))


class AnswerIds:
    @staticmethod
    def of(seed: int) -> str:
        answer = parse_answer('<tool_call>{"name": "now"}', template=COMPILED["hermes"], tools=TOOLS, id_seed=seed)
        return answer.tool_calls[0].id


def test_ids() -> None:
    assert AnswerIds.of(1) == AnswerIds.of(1) != AnswerIds.of(2)
    text = "[TOOL_CALLS]now[CALL_ID]abcdefghi[ARGS]{}[TOOL_CALLS]now[CALL_ID]abcdefghi[ARGS]{}[TOOL_CALLS]now[ARGS]{}"
    ids = [call.id for call in parse_answer(text, template=COMPILED["mistral"], tools=TOOLS).tool_calls]
    assert ids[0] == "abcdefghi"
    assert len(set(ids)) == 3
    assert all(len(ident) == 9 and ident.isalnum() for ident in ids), "Mistral's templates refuse others"


def test_without_tools_calls_are_text() -> None:
    text = '<think>a</think><tool_call>{"name": "now"}</tool_call>'
    answer = parse("hermes", text, tools=[])
    assert answer == Answer(content='<tool_call>{"name": "now"}</tool_call>', reasoning="a")


def test_the_prompt_decides_whether_it_begins_in_reasoning() -> None:
    prompt = "<|user|>Hi<|end|>\n<|assistant|>\n"
    text = "hm</think>Hi"
    template = TEMPLATES["qwen3-coder"]
    assert parse_answer(text, template=template, prompt=prompt + "<think>\n") == Answer(content="Hi", reasoning="hm")
    assert parse_answer("Hi", template=template, prompt=prompt + "<think></think>") == Answer(content="Hi")


def test_malformed_tools_are_refused() -> None:
    for bad in ({}, {"function": {}}, {"function": {"name": 1}}, {"function": "f"}, "f"):
        with pytest.raises(InvalidParameterError, match=r"tools\[0\]"):
            parse_answer("", template=PLAIN, tools=[bad])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("wrong", "name"),
    [({"template": 5}, "template"), ({"tools": 5}, "tools"), ({"tools": "f"}, "tools"), ({"prompt": b""}, "prompt")],
)
def test_arguments_of_wrong_types_are_refused(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"^{name} must be"):
        parse_answer("", **{"template": PLAIN, **wrong})
    with pytest.raises(InvalidParameterError, match="text must be a string, not bytes"):
        parse_answer(b"", template=PLAIN)  # type: ignore[arg-type]
    assert parse_answer("Hi", template=PLAIN, tools=None).content == "Hi"


def test_tools_of_gpt_oss_that_nobody_offered_are_left_out() -> None:
    text = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to={}<|message|>{}<|call|>"
    assert parse("harmony", text.format("python <|constrain|>code", 'print("hello")')) == Answer(reasoning="hm")
    assert parse("harmony", text.format("container.exec", "ls")) == Answer(reasoning="hm")
    for name in ("functions.now", "now"):
        assert calls_of(parse("harmony", text.format(name, '{"a": 1}'))) == [("now", {"a": 1})]
