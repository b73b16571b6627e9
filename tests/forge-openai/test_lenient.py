"""Chunks of any shape: what is read of each field, and by which name it is reported where it can't be read."""

from __future__ import annotations

from typing import Any

import pytest

from forge_openai.answer.chunks import (
    Choice,
    Chunk,
    CompletionDetails,
    Delta,
    FunctionPart,
    LogprobItem,
    Logprobs,
    PromptDetails,
    ToolCallPart,
    UsageCounts,
)
from forge_openai.answer.lenient import LenientReader, whole

Reports = list[tuple[str, object]]

TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
CALLS = ("tool_calls", "function_call")


def read(found: dict[str, Any]) -> tuple[Chunk, Reports]:
    """The chunk, and what was reported of it."""
    reports: Reports = []
    chunk = LenientReader(lambda field, value: reports.append((field, value))).chunk(found)
    return chunk, reports


def choice(**fields: Any) -> tuple[Choice, Reports]:
    chunk, reports = read({"choices": [fields]})
    assert chunk.choices is not None
    (made,) = chunk.choices
    return made, reports


def delta(found: Any) -> tuple[Delta | None, Reports]:
    made, reports = choice(delta=found)
    return made.delta, reports


def test_every_field_has_its_place() -> None:
    found = {
        "choices": [
            {
                "index": "1",
                "delta": {
                    "content": "a",
                    "refusal": "b",
                    "reasoning_content": "c",
                    "tool_calls": [{"index": 2.0, "id": "i", "function": {"name": "f", "arguments": '{"x"'}}],
                    "function_call": {"name": "g", "arguments": {"y": 1}},
                },
                "message": {"content": "m"},
                "text": "t",
                "logprobs": {"content": [{"token": "a", "logprob": -1, "id": "4", "top_logprobs": [{"token": "b"}]}]},
                "finish_reason": "stop",
                "stop_reason": "END",
                "error": {"message": "e"},
                "usage": {"prompt_tokens": 7},
            }
        ],
        "usage": {
            "prompt_tokens": "3",
            "completion_tokens": 2.0,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
        "error": "E",
        "base_resp": {"status_code": 1},
    }
    nothing = {"prompt_tokens_details": PromptDetails(), "completion_tokens_details": CompletionDetails()}
    expected = Chunk(
        choices=[
            Choice(
                index=1,
                delta=Delta(
                    content="a",
                    refusal="b",
                    reasoning_content="c",
                    tool_calls=[ToolCallPart(2, "i", FunctionPart("f", '{"x"'))],
                    function_call=FunctionPart("g", {"y": 1}),
                ),
                message=Delta(content="m", refusal="", reasoning_content="", tool_calls=[]),
                text="t",
                logprobs=Logprobs(content=[LogprobItem("a", -1, 4, [LogprobItem("b")])]),
                finish_reason="stop",
                stop_reason="END",
                error={"message": "e"},
                usage=UsageCounts(7, None, **nothing),
            )
        ],
        usage=UsageCounts(3, 2, PromptDetails(1), CompletionDetails(0)),
        error="E",
        base_resp={"status_code": 1},
    )
    assert read(found) == (expected, [])


@pytest.mark.parametrize("name", ["choices", "usage"])
@pytest.mark.parametrize("value", [7, "x", True])
def test_what_is_no_list_or_object_is_reported(name: str, value: object) -> None:
    chunk, reports = read({name: value})
    assert (chunk.choices, chunk.usage, reports) == ([], None, [(name, value)])


def test_nothing_is_reported_of_null() -> None:
    names = ("delta", "message", "text", "logprobs", "finish_reason", "stop_reason", "error", "usage", "index")
    made, reports = choice(**dict.fromkeys(names))
    assert (made, reports) == (Choice(index=None, text=""), [])
    assert choice() == (Choice(text=""), [])
    assert read({"choices": None, "usage": None}) == (Chunk(choices=[]), [])
    assert read({"choices": [None]}) == (Chunk(choices=[]), [])
    empty = Delta(content="", refusal="", reasoning_content="", tool_calls=[])
    assert delta(dict.fromkeys(TEXTS + CALLS)) == (empty, [])
    assert delta({}) == (empty, [])


def test_a_choice_that_is_none_is_left_out_and_the_others_stay() -> None:
    chunk, reports = read({"choices": [5, {"text": "a"}, "x"]})
    assert chunk.choices == [Choice(text="a")]
    assert reports == [("choices[]", 5), ("choices[]", "x")]


@pytest.mark.parametrize(("value", "reason"), [(0, None), (False, None), ({}, None), (3, "unknown"), ([1], "unknown")])
def test_a_reason_that_is_no_text(value: object, reason: str | None) -> None:
    made, reports = choice(finish_reason=value)
    assert (made.finish_reason, reports) == (reason, [("finish_reason", value)])


THINKS = [{"type": "thinking", "thinking": "T"}]


def test_reasoning_beside_a_raw_text() -> None:
    made, reports = choice(text=["a", *THINKS])
    assert (made.text, made.delta, reports) == ("a", Delta(reasoning_content="T"), [])
    made, reports = choice(text=THINKS, delta={"reasoning_content": "R"})
    assert made.delta is not None
    assert (made.text, made.delta.reasoning_content, reports) == ("", "RT", [])


@pytest.mark.parametrize("place", ["delta", "message"])
def test_a_delta_of_another_type(place: str) -> None:
    made, reports = choice(**{place: "said"})
    assert (getattr(made, place), reports) == (Delta(content="said"), [])
    made, reports = choice(**{place: 5})
    assert (getattr(made, place), reports) == (None, [(place, 5)])


@pytest.mark.parametrize("place", ["delta", "message"])
@pytest.mark.parametrize(
    "name", ["content", "refusal", "reasoning_content", "reasoning", "tool_calls", "function_call"]
)
def test_a_field_of_a_delta_is_reported_by_its_place(place: str, name: str) -> None:
    made, reports = choice(**{place: {name: True}})
    assert getattr(made, place) == Delta(content="", refusal="", reasoning_content="", tool_calls=[])
    assert reports == [(f"{place}.{name}", True)]


@pytest.mark.parametrize(
    ("found", "content", "reasoning"),
    [
        ({"content": "a", "reasoning_content": "r"}, "a", "r"),
        ({"content": "a", "reasoning": "r"}, "a", "r"),
        ({"reasoning_content": "r", "reasoning": "r"}, "", "r"),
        ({"reasoning_content": "", "reasoning": "s"}, "", "s"),
        ({"content": [*THINKS, "a"], "reasoning": "r"}, "a", "Tr"),
        ({"reasoning": ["a", *THINKS]}, "", "aT"),
        ({"content": {"type": "text", "text": "a"}}, "a", ""),
        ({"content": [{"type": "output_text", "text": "a"}, {"text": "b"}, 5, 1.5]}, "ab51.5", ""),
        ({"content": {"thinking": "T"}}, "", "T"),
        ({"content": {"type": "text", "thinking": "T", "text": "a"}}, "a", ""),
        ({"content": {"type": "refusal", "refusal": "no"}}, "no", ""),
        ({"content": {"content": "c", "output_text": "o"}}, "o", ""),
        ({"content": {"value": "v"}}, "v", ""),
        ({"content": {"parts": ["p", {"text": "q"}]}}, "pq", ""),
        ({"content": {"text": None, "content": "c"}}, "c", ""),
        ({"content": {"type": "reasoning", "summary": [{"type": "summary_text", "text": "S"}, "t"]}}, "", "tS"),
        ({"content": {"type": "reasoning_content", "reasoning_content": "R", "text": "x"}}, "", "R"),
        ({"content": {"type": "reasoning_text", "reasoning": "R"}}, "", "R"),
    ],
)
def test_texts_and_reasoning_in_parts(found: Any, content: str, reasoning: str) -> None:
    made, reports = delta(found)
    assert made == Delta(content=content, refusal="", reasoning_content=reasoning, tool_calls=[])
    assert reports == []


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        ([True], "delta.content[]"),
        ({"text": True}, "delta.content.text"),
        ([{"text": [False]}], "delta.content[].text[]"),
        ({"type": "image", "url": "u"}, "delta.content (image)"),
        ({"type": 5}, "delta.content"),
        ([{}], "delta.content[]"),
    ],
)
def test_a_part_that_holds_no_text_is_reported(content: Any, reported: str) -> None:
    made, reports = delta({"content": content})
    assert made == Delta(content="", refusal="", reasoning_content="", tool_calls=[])
    assert [field for field, _ in reports] == [reported]


def test_tool_calls_of_other_shapes() -> None:
    flat = {"id": 7, "name": "f", "arguments": ["é"]}
    for found in (flat, [flat]):
        made, reports = delta({"tool_calls": found})
        assert made is not None
        assert (made.tool_calls, reports) == ([ToolCallPart(None, "7", FunctionPart("f", '["é"]'))], [])
    made, reports = delta({"tool_calls": [{"index": "1", "function": {}}, {"id": "a"}]})
    assert made is not None
    assert (made.tool_calls, reports) == ([ToolCallPart(1, None, FunctionPart()), ToolCallPart(None, "a")], [])


@pytest.mark.parametrize(
    ("call", "left", "reported", "value"),
    [
        (5, None, "[]", 5),
        ({"id": True}, ToolCallPart(), "[].id", True),
        ({"id": [1]}, ToolCallPart(), "[].id", [1]),
        ({"index": "x"}, ToolCallPart(), "[].index", "x"),
        ({"function": 5}, ToolCallPart(), "[].function", 5),
        (
            {"function": {"name": 5, "arguments": "{}"}},
            ToolCallPart(function=FunctionPart(None, "{}")),
            "[].function.name",
            5,
        ),
        (
            {"function": {"name": "f", "arguments": 5}},
            ToolCallPart(function=FunctionPart("f")),
            "[].function.arguments",
            5,
        ),
    ],
)
def test_a_part_of_a_call_is_reported(call: Any, left: ToolCallPart | None, reported: str, value: object) -> None:
    made, reports = delta({"tool_calls": [call, {"index": 3}]})
    assert made is not None
    assert made.tool_calls == [*([left] if left is not None else []), ToolCallPart(3)]
    assert reports == [(f"delta.tool_calls{reported}", value)]


NO_COUNTS = UsageCounts(None, None, PromptDetails(), CompletionDetails())


@pytest.mark.parametrize("value", [-1, "x", 1.5, True, [1]])
@pytest.mark.parametrize(
    ("holder", "name"),
    [
        ("", "prompt_tokens"),
        ("", "completion_tokens"),
        ("prompt_tokens_details", "cached_tokens"),
        ("completion_tokens_details", "reasoning_tokens"),
    ],
)
def test_a_count_that_is_none_is_reported(holder: str, name: str, value: object) -> None:
    chunk, reports = read({"usage": {holder: {name: value}} if holder else {name: value}})
    assert (chunk.usage, reports) == (NO_COUNTS, [(".".join(filter(None, ("usage", holder, name))), value)])


@pytest.mark.parametrize("name", ["prompt_tokens_details", "completion_tokens_details"])
def test_details_that_are_none_are_reported(name: str) -> None:
    assert read({"usage": {name: 7}})[1] == [(f"usage.{name}", 7)]
    assert read({"usage": {name: None, "prompt_tokens": 0}}) == (
        Chunk(choices=[], usage=UsageCounts(0, None, PromptDetails(), CompletionDetails())),
        [],
    )


def logprobs(found: Any) -> tuple[Logprobs | None, Reports]:
    made, reports = choice(logprobs=found)
    return made.logprobs, reports


def test_log_probabilities_of_both_shapes() -> None:
    old = {"tokens": ["a", "b"], "token_logprobs": [-1, None], "top_logprobs": [{"a": -1.0, "c": None}, None]}
    assert logprobs({**old, "content": None, "text_offset": "x"}) == (Logprobs(None, *old.values()), [])
    assert logprobs({"tokens": [], "token_logprobs": []}) == (Logprobs(tokens=[], token_logprobs=[]), [])
    assert logprobs({}) == (None, [])
    assert logprobs({"content": []}) == (Logprobs(content=[]), [])
    item = {"token": "a", "logprob": None, "id": None, "top_logprobs": None}
    assert logprobs({"content": [item]}) == (Logprobs(content=[LogprobItem("a")]), [])


@pytest.mark.parametrize("value", [-1.5, None, 3, "x", True, 10**400, [1]])
def test_a_log_probability_is_a_number_or_null(value: object) -> None:
    sound = value is None or (isinstance(value, float | int) and not isinstance(value, bool) and value != 10**400)
    content = [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": value}]
    made, reports = logprobs({"content": content})
    assert (made is not None, reports) == (sound, [] if sound else [("logprobs.content", content)])
    made, reports = logprobs({"tokens": ["a", "b"], "token_logprobs": [-1.0, value]})
    assert (made is not None, reports) == (sound, [] if sound else [("logprobs.tokens", ["a", "b"])])
    tops = [None, {"c": -1.0, "d": value}]
    made, reports = logprobs({"tokens": ["a", "b"], "token_logprobs": [-1.0, -2.0], "top_logprobs": tops})
    assert made is not None
    assert (made.top_logprobs, reports) == ((tops, []) if sound else (None, [("logprobs.top_logprobs", tops)]))


@pytest.mark.parametrize(
    ("found", "reported", "value"),
    [
        (5, "logprobs", 5),
        ({"content": 5}, "logprobs.content", 5),
        ({"content": [5]}, "logprobs.content", [5]),
        ({"content": [{"token": 5}]}, "logprobs.content", [{"token": 5}]),
        ({"tokens": "ab", "token_logprobs": [-1.0, -1.0]}, "logprobs.tokens", "ab"),
        ({"tokens": ["a"], "token_logprobs": None}, "logprobs.tokens", ["a"]),
        ({"tokens": ["a", 5], "token_logprobs": [-1.0, -1.0]}, "logprobs.tokens", ["a", 5]),
    ],
)
def test_log_probabilities_that_can_not_be_read(found: Any, reported: str, value: object) -> None:
    assert logprobs(found) == (None, [(reported, value)])


def test_what_belongs_to_a_token_and_can_not_be_read() -> None:
    made, reports = logprobs({"content": [{"token": "a", "id": "x", "top_logprobs": [7]}]})
    assert made == Logprobs(content=[LogprobItem("a")])
    assert reports == [("logprobs.content[].id", "x"), ("logprobs.content[].top_logprobs", [7])]
    for tops in (5, [5], ["a"]):
        made, reports = logprobs({"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": tops})
        assert made == Logprobs(tokens=["a"], token_logprobs=[-1.0])
        assert reports == [("logprobs.top_logprobs", tops)]


@pytest.mark.parametrize(
    ("found", "number"),
    [
        (3, 3), (-3, -3), (0, 0), (3.0, 3), ("3", 3), (" -3 ", -3), (10**30, 10**30),
        (True, None), (False, None), (1.5, None), (float("inf"), None), (float("nan"), None),
        ("", None), ("3.0", None), (None, None), ([3], None),
    ],
)  # fmt: skip
def test_whole_numbers(found: object, number: int | None) -> None:
    assert whole(found) == number
    assert not isinstance(whole(found), bool)
