"""Exact text: whatever the chunks, the pieces joined are what the whole would have given."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llamaforge.text import StopMatcher, TextAssembler, Utf8Decoder

# Few letters, so that stop strings overlap, nest and repeat; and what splits badly.
letters = st.text(alphabet="ab", max_size=12)
tricky = st.text(alphabet="abé👩‍👧e\u0301漢\ufffd", max_size=12)
stops_of = st.lists(st.text(alphabet="abé\ufffd", min_size=1, max_size=5), max_size=4)


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(edge % (len(data) + 1) for edge in at), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


def reference(text: str, stops: list[str]) -> tuple[str, str | None]:
    """Character by character, the definition itself: the first to be complete wins, of those the longest."""
    for end in range(1, len(text) + 1):
        done = [stop for stop in stops if text[:end].endswith(stop)]
        if done:
            longest = max(done, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(st.binary(max_size=40), st.lists(st.integers(0, 99), max_size=8))
@example(b"\xf0\x9f\x98\x80", [1, 2, 3])
@example(b"\xef\xbf\xbd", [1, 2])  # a real U+FFFD
@example(b"\xf0\x9f", [1])  # cut off at the end
@example(b"\xe2\x28\xa1", [1, 2])  # invalid
def test_utf8_is_the_same_for_every_split(data: bytes, at: list[int]) -> None:
    decoder = Utf8Decoder()
    joined = "".join(decoder.feed(chunk) for chunk in cut(data, at)) + decoder.finish()
    assert joined == data.decode("utf-8", "replace")


def test_utf8_passes_whole_characters_at_once() -> None:
    decoder = Utf8Decoder()
    assert [decoder.feed(bytes([byte])) for byte in "é漢".encode()] == ["", "é", "", "", "漢"]
    assert decoder.finish() == ""


@given(letters | tricky, stops_of, st.lists(st.integers(0, 99), max_size=8))
@example("xxabcd", ["abcd", "bc"], [])
@example("aab", ["ab", "aab"], [1])
def test_stops_are_the_same_for_every_split(text: str, stops: list[str], at: list[int]) -> None:
    data = text.encode()
    assembler = TextAssembler(stops)
    joined = "".join(assembler.feed(chunk) for chunk in cut(data, at)) + assembler.finish()
    assert (joined, assembler.matched) == reference(text, stops)


@given(letters, stops_of)
def test_nothing_is_held_back_longer_than_a_stop_could_match(text: str, stops: list[str]) -> None:
    matcher = StopMatcher(stops)
    passed = ""
    for index, character in enumerate(text, 1):
        passed += matcher.feed(character)
        if matcher.matched is not None:
            return
        held = text[len(passed) : index]
        assert held == "" or any(stop.startswith(held) and stop != held for stop in stops)


def test_a_stop_at_the_very_end_and_one_cut_short() -> None:
    matcher = StopMatcher(["END"])
    assert matcher.feed("text EN") == "text "
    assert matcher.feed("D") == ""
    assert (matcher.matched, matcher.finish()) == ("END", "")
    matcher = StopMatcher(["END"])
    assert matcher.feed("text EN") + matcher.finish() == "text EN"
    assert matcher.matched is None


def test_after_a_match_nothing_comes() -> None:
    matcher = StopMatcher(["."])
    assert matcher.feed("a. b") == "a"
    assert matcher.feed(" c") + matcher.finish() == ""


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        StopMatcher([""])
