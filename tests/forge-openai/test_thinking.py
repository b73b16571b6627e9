"""Reasoning between <think> and </think> in the content of servers without a parser."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forge_openai import OpenAIBackend
from forge_openai.answer.thinking import ThinkSplitter
from support.scripted import ScriptedServer, delta, stream_reply, usage

Load = Callable[..., OpenAIBackend]


def split(pieces: list[str], *, opened: bool = False) -> tuple[str, str]:
    splitter = ThinkSplitter(opened=opened)
    parts = [*map(splitter.feed, pieces), splitter.finish()]
    return "".join(reasoning for reasoning, _ in parts), "".join(content for _, content in parts)


@pytest.mark.parametrize(
    ("text", "opened", "reasoning", "content"),
    [
        ("Hello", False, "", "Hello"),
        ("  Hello <think>no</think> ", False, "", "  Hello <think>no</think> "),
        ("<think>\nA\n\nB\n</think>\n\nHi <think>", False, "A\n\nB", "Hi <think>"),
        ("\n<think></think>Hi", False, "", "Hi"),
        ("<thin", False, "", "<thin"),
        ("<think>a </thin", False, "a </thin", ""),
        ("<think>a", False, "a", ""),
        ("A</think>Hi", True, "A", "Hi"),
        ("<think>\nA</think>\nHi", True, "A", "Hi"),
        ("A < B </ C\n</think>\n", True, "A < B </ C", ""),
        ("", False, "", ""),
    ],
)
def test_the_parts(text: str, opened: bool, reasoning: str, content: str) -> None:
    assert split([text], opened=opened) == (reasoning, content)
    assert split(list(text), opened=opened) == (reasoning, content), "one character at a time"


WORDS = st.sampled_from(["<think>", "</think>", "<", "</th", "ink>", " ", "\n", "a", "think"])


@given(st.lists(WORDS, max_size=12), st.lists(st.integers(0, 60), max_size=8), st.booleans())
@example(["<think>", " ", "</th", "a", "</think>"], [8, 12], True)
def test_every_chunking_gives_the_same(words: list[str], cuts: list[int], opened: bool) -> None:
    text = "".join(words)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[begin:end] for begin, end in itertools.pairwise(places)]
    assert split(pieces, opened=opened) == split([text], opened=opened) == split(list(text), opened=opened)


THOUGHT = (delta("<thi"), delta("nk>\nhm"), delta(" END\n"), delta("</think>"), delta("\n\n4"), delta("2"))
END = (delta(finish_reason="stop"), usage(3, 8))


def test_reasoning_in_the_content_stands_apart(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(*THOUGHT, *END))
    answer = load().generate("Hi", stop=["END"])
    assert (answer, answer.reasoning, answer.stop) == ("42", "hm END", None)
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.reasoning_tokens) == (8, 3)


def test_it_can_be_turned_off_or_said_to_be_open(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(*THOUGHT, *END))
    answer = load(reasoning_in_content="no").generate("Hi")
    assert (answer, answer.reasoning) == ("<think>\nhm END\n</think>\n\n42", "")
    server.chat(stream_reply(*THOUGHT[2:], *END))
    answer = load(reasoning_in_content="opened").generate("Hi")
    assert (answer, answer.reasoning) == ("42", "END")


def test_a_server_with_a_parser_is_left_alone(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(delta(reasoning="hm"), delta("<think>"), delta("is a tag"), *END))
    answer = load().generate("Hi")
    assert (answer, answer.reasoning) == ("<think>is a tag", "hm")


def test_raw_text_is_left_alone(server: ScriptedServer, load: Load) -> None:
    chunks = [{"choices": [{"index": 0, "text": text, "finish_reason": "stop"}]} for text in ("<think>a</think>b",)]
    server.on("POST", "/completions", stream_reply(*chunks))
    answer = load().generate("Hi", raw=True)
    assert (answer, answer.reasoning) == ("<think>a</think>b", "")


def logged(text: str) -> dict[str, Any]:
    chunk = delta(text)
    chunk["choices"][0]["logprobs"] = {"content": [{"token": text, "logprob": -0.5, "top_logprobs": []}]}
    return chunk


@pytest.mark.parametrize(
    ("tokens", "text", "told"),
    [
        (["<", "think>", "a", "</think>", "\n", "b", "c"], "bc", ["\n", "b", "c"]),
        (["\n", "<", "b", "c"], "\n<bc", ["\n", "<", "b", "c"]),
        (["<", "think"], "<think", ["<", "think"]),
    ],
)
def test_log_probabilities_are_those_of_the_content(
    server: ScriptedServer, load: Load, tokens: list[str], text: str, told: list[str]
) -> None:
    server.chat(stream_reply(*map(logged, tokens), *END))
    answer = load().generate("Hi", logprobs=True)
    assert answer == text
    assert [each.token for each in answer.logprobs] == told


def test_an_answer_that_is_cut_in_its_reasoning(server: ScriptedServer, load: Load) -> None:
    server.chat(stream_reply(*THOUGHT[:2], delta(finish_reason="length"), usage(3, 2)))
    answer = load().generate("Hi")
    assert (answer, answer.reasoning, answer.finish_reason) == ("", "hm", "length")
