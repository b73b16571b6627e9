"""What is read of an answer: times, counts, tokens of the first chunk; under every way of cutting the bytes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_bench.records import Record
from forge_bench.targets.sse import AnswerReader


def chunk(text: str | None = None, **more: Any) -> bytes:
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish_reason", None)}
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


def end(tokens: int, **details: Any) -> bytes:
    usage = {"prompt_tokens": 9, "completion_tokens": tokens, **details}
    last = b"data: " + json.dumps({"choices": [], "usage": usage}).encode()
    return chunk(finish_reason="length") + last + b"\n\ndata: [DONE]\n\n"


def read(data: bytes, cuts: list[int] | None = None) -> AnswerReader:
    reader = AnswerReader(Record(index=0), keep_text=True)
    places = sorted({0, len(data), *[cut % len(data) for cut in cuts or []]})
    for number, (begin, until) in enumerate(pairwise(places)):
        reader.feed(data[begin:until], float(number))
    reader.finish(float(len(places)))
    return reader


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8), st.lists(st.integers(0, 10**6), max_size=12))
def test_cuts_change_nothing_but_times(pieces: list[str], cuts: list[int]) -> None:
    data = b": ping\n\n" + chunk("") + b"".join(map(chunk, pieces)) + end(40)
    reader = read(data, cuts)
    record = reader.record
    assert reader.text == "".join(pieces)
    assert len(record.chunk_times) == len(pieces)
    assert record.chunk_times == sorted(record.chunk_times)
    assert (record.prompt_tokens, record.completion_tokens, record.finish_reason) == (9, 40, "length")
    assert record.first_characters == len(pieces[0])


@given(st.integers(1, 9), st.integers(1, 30), st.integers(1, 5))
def test_tpot_is_exact_whatever_a_chunk_holds(first: int, chunks: int, width: int) -> None:
    """Tokens of one length: the first chunk has *first* tokens, each further one four, 10 ms a token."""
    record = Record(index=0, completion_tokens=first + 4 * chunks, end=1.0)
    record.chunk_times = [0.1 + 0.04 * number for number in range(chunks + 1)]
    record.first_characters = first * width
    record.characters = (first + 4 * chunks) * width
    assert record.tokens_of_first_chunk == first
    assert record.tpot == pytest.approx(0.01)


def test_tokens_come_from_usage_and_never_from_chunks() -> None:
    record = read(chunk("a b c d") + chunk("e f g h") + end(64)).record
    assert record.completion_tokens == 64
    silent = read(chunk("a") + chunk("b", finish_reason="stop") + b"data: [DONE]\n\n").record
    assert silent.completion_tokens is None
    assert silent.tpot is None
    assert silent.succeeded


def test_a_server_that_counts_as_it_goes_is_believed() -> None:
    data = chunk("abc", usage={"completion_tokens": 3, "prompt_tokens": 1}) + chunk("d") + end(9)
    assert read(data).record.tokens_of_first_chunk == 3


def test_an_answer_in_one_chunk_has_no_time_per_token() -> None:
    record = read(chunk("all of it") + end(5)).record
    assert record.tpot is None
    assert record.ttft is not None


def test_caches_and_guesses() -> None:
    details = {
        "prompt_tokens_details": {"cached_tokens": 7},
        "completion_tokens_details": {"accepted_prediction_tokens": 3, "rejected_prediction_tokens": 1},
    }
    record = read(chunk("x") + end(5, **details)).record
    assert (record.cached_tokens, record.drafted, record.accepted) == (7, 4, 3)
    timings = {"cache_n": 2, "draft_n": 10, "draft_n_accepted": 6}
    record = read(chunk("x") + chunk(finish_reason="stop", timings=timings) + b"data: [DONE]\n\n").record
    assert (record.cached_tokens, record.drafted, record.accepted) == (2, 10, 6)


@pytest.mark.parametrize(
    "delta",
    [{"reasoning_content": "hm"}, {"reasoning": "hm"}, {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}],
)
def test_reasoning_and_calls_are_parts_of_an_answer(delta: dict[str, Any]) -> None:
    event = b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"
    reader = read(event + end(2))
    assert len(reader.record.chunk_times) == 1
    assert reader.text == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (chunk("half"), "ended before the answer did"),
        (chunk("half") + b'data: {"error": {"message": "out of memory"}}\n\n', "out of memory"),
        (b"data: {not json}\n\n", "can't be read"),
    ],
)
def test_what_is_no_answer_is_a_failure(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(data)


def test_latency_counts_from_the_intended_arrival() -> None:
    record = Record(index=0, intended=1.0, sent=3.0, chunk_times=[3.5, 3.6], end=3.7, completion_tokens=2)
    assert (record.ttft, record.e2e, record.lateness) == (2.5, pytest.approx(2.7), 2.0)
