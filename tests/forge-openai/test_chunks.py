"""Chunks of the usual types: what stands in them, what is left out, and the same meaning on both ways of reading."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_openai.answer import chunks
from forge_openai.answer.chunks import (
    Choice,
    Chunk,
    CompletionDetails,
    LogprobItem,
    Logprobs,
    PromptDetails,
    UsageCounts,
)
from forge_openai.answer.counts import estimate_usage, read_usage
from forge_openai.answer.lenient import LenientReader
from forge_openai.answer.logprobs import read_logprobs
from forge_openai.answer.reader import AnswerReader
from forge_openai.errors import Translator
from forge_openai.side_fields import SideFieldReport
from llamaforge.requests import read_request
from llamaforge.results import Event, TokenLogprob, Usage

TYPES = [each for each in vars(chunks).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)]


@pytest.mark.parametrize("kind", TYPES)
def test_a_field_that_is_left_out_is_null(kind: type[msgspec.Struct]) -> None:
    given = {"token": "a"} if kind is LogprobItem else {}
    made = msgspec.to_builtins(msgspec.convert(given, kind))
    expected = given | ({"index": 0} if kind is Choice else {})
    assert {name: value for name, value in made.items() if value is not None} == expected


TEXT = st.text(max_size=4)
NUMBER = st.none() | st.floats(-20, 0)
ITEM = st.fixed_dictionaries(
    {"token": TEXT, "logprob": NUMBER},
    optional={
        "id": st.none() | st.integers(0, 9),
        "top_logprobs": st.none() | st.lists(st.fixed_dictionaries({"token": TEXT, "logprob": NUMBER}), max_size=3),
    },
)
ROW = st.tuples(TEXT, NUMBER, st.none() | st.dictionaries(TEXT, NUMBER, max_size=3))
OLD = st.tuples(st.lists(ROW, max_size=3), st.booleans()).map(
    lambda drawn: {
        "tokens": [token for token, _, _ in drawn[0]],
        "token_logprobs": [value for _, value, _ in drawn[0]],
        "top_logprobs": [top for _, _, top in drawn[0]] if drawn[1] else None,
    }
)
FUNCTION = st.fixed_dictionaries(
    {}, optional={"name": st.none() | TEXT, "arguments": st.none() | TEXT | st.dictionaries(TEXT, st.integers())}
)
CALL = st.fixed_dictionaries(
    {}, optional={"index": st.none() | st.integers(0, 2), "id": st.none() | TEXT, "function": st.none() | FUNCTION}
)
SAID = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("content", "refusal", "reasoning_content", "reasoning"), st.none() | TEXT),
        "tool_calls": st.none() | st.lists(CALL, max_size=2),
        "function_call": st.none() | FUNCTION,
    },
)
COUNT = st.none() | st.integers(0, 99)
COUNTS = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "prompt_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"cached_tokens": COUNT}),
        "completion_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"reasoning_tokens": COUNT}),
    },
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "index": st.none() | st.integers(0, 1),
        "delta": st.none() | SAID,
        "message": st.none() | SAID,
        "text": st.none() | TEXT,
        "logprobs": st.none() | OLD | st.fixed_dictionaries({"content": st.lists(ITEM, max_size=2)}),
        "finish_reason": st.sampled_from([None, "stop", "length", "eos"]),
        "stop_reason": st.none() | TEXT | st.integers(),
        "error": st.sampled_from([None, "", "Broke.", {"message": "Broke."}]),
        "usage": st.none() | COUNTS,
    },
)
CHUNKS = st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, min_size=1, max_size=2)}, optional={"usage": st.none() | COUNTS}
)


@given(st.lists(CHUNKS, max_size=3), st.booleans())
def test_both_ways_of_reading_have_the_same_meaning(sent: list[dict[str, Any]], stops: bool) -> None:
    def events(lenient: bool) -> list[Event] | str:
        given: dict[str, Any] = {"logprobs": True, "top_logprobs": 2, "seed": 1, "stop": ["a"] if stops else None}
        request = read_request("Hi", None, {**given, "tools": [{"type": "function", "function": {"name": "f"}}]})
        report = SideFieldReport("http://host/v1")
        reader = AnswerReader(request, Translator(address="http://host/v1", model="m"), report)
        found: list[Event] = []
        for each in sent:
            if lenient:
                reader.read(LenientReader(_nothing_is_odd).chunk(each), found)
            else:
                reader.read(msgspec.json.decode(json.dumps(each), type=Chunk), found)
        try:
            return found + reader.finish(is_complete=True)
        except Exception as error:
            return repr(error)

    assert events(lenient=True) == events(lenient=False)


def _nothing_is_odd(field: str, value: object) -> None:
    raise AssertionError(f"{field}: {value!r}")


def test_log_probabilities_best_first_and_no_more_than_were_asked_for() -> None:
    others = [LogprobItem("x", -3.0, 1), LogprobItem("y", None, 2), LogprobItem("z\ud800", -1.0), LogprobItem("w", -2)]
    sent = Logprobs(content=[LogprobItem("a\ud800", -2, 7, others), LogprobItem("b", math.nan)])
    x, y = TokenLogprob("x", -3.0, 1), TokenLogprob("y", -math.inf, 2)
    z, w = TokenLogprob("z\ufffd", -1.0), TokenLogprob("w", -2.0)
    last = TokenLogprob("b", -math.inf)
    assert read_logprobs(sent, 9) == (TokenLogprob("a\ufffd", -2.0, 7, (z, w, x, y)), last)
    assert read_logprobs(sent, 2) == (TokenLogprob("a\ufffd", -2.0, 7, (z, w)), last)
    assert read_logprobs(sent, 0) == (TokenLogprob("a\ufffd", -2.0, 7), last)
    assert isinstance(read_logprobs(sent, 0)[0].logprob, float)
    assert read_logprobs(None, 2) == read_logprobs(Logprobs(), 2) == read_logprobs(Logprobs(content=[]), 2) == ()


def test_log_probabilities_of_the_older_shape() -> None:
    tops: list[Any] = [{"x": -1.0, "z\ud800": None, "y": -0.5}, None]
    sent = Logprobs(tokens=["a\ud800", "b"], token_logprobs=[-2, None], top_logprobs=tops)
    x, y, z = TokenLogprob("x", -1.0), TokenLogprob("y", -0.5), TokenLogprob("z\ufffd", -math.inf)
    last = TokenLogprob("b", -math.inf)
    assert read_logprobs(sent, 9) == (TokenLogprob("a\ufffd", -2.0, top=(y, x, z)), last)
    assert read_logprobs(sent, 1) == (TokenLogprob("a\ufffd", -2.0, top=(y,)), last)
    plain = Logprobs(tokens=["a", "b", "c"], token_logprobs=[-1.0, -2.0])
    assert read_logprobs(plain, 1) == (TokenLogprob("a", -1.0), TokenLogprob("b", -2.0))
    assert read_logprobs(Logprobs(tokens=["a"]), 1) == ()


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (UsageCounts(), None),
        (UsageCounts(None, None, PromptDetails(1), CompletionDetails(1)), None),
        (UsageCounts(3), Usage(prompt_tokens=3, completion_tokens=0)),
        (UsageCounts(None, 2), Usage(prompt_tokens=0, completion_tokens=2)),
        (UsageCounts(0, 0), Usage(prompt_tokens=0, completion_tokens=0)),
        (UsageCounts(3, 2, PromptDetails(), CompletionDetails()), Usage(prompt_tokens=3, completion_tokens=2)),
        (UsageCounts(3, 2, PromptDetails(1)), Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=1)),
        (
            UsageCounts(3, 2, None, CompletionDetails(1)),
            Usage(prompt_tokens=3, completion_tokens=2, reasoning_tokens=1),
        ),
    ],
)
def test_counts(sent: UsageCounts, read: Usage | None) -> None:
    assert read_usage(sent) == read


def test_guesses_are_marked_and_never_below_what_is_known() -> None:
    request = read_request("Hällo\ud800", None, {})  # six bytes, and one for half a pair
    assert estimate_usage(request, 5, None) == Usage(prompt_tokens=2, completion_tokens=5, estimated=True)
    known = Usage(prompt_tokens=9, completion_tokens=6, cached_tokens=4)
    for seen, count in ((5, 6), (6, 6), (7, 7)):
        guess = Usage(prompt_tokens=9, completion_tokens=count, cached_tokens=4, estimated=True)
        assert estimate_usage(request, seen, known) == guess
