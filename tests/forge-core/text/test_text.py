"""Exact text: whatever the chunks, the pieces joined are what the whole would have given."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llamaforge.text import StopMatcher, TextAssembler, Utf8Decoder

FAMILY, FLAG, ACCENT = "👩‍👩‍👧", "🇫🇷", "e\u0301"
# Few letters, so that stop strings overlap, nest and repeat; and what splits badly.
letters = st.text(alphabet="ab", max_size=12)
tricky = st.lists(st.sampled_from(["a", "b", "é", ACCENT, "漢", "字", FAMILY, FLAG, "\ufffd"]), max_size=10).map(
    "".join
)
# Bytes that are no UTF-8 (a continuation, a sequence cut short, an overlong one, half a surrogate pair).
broken = st.sampled_from([b"\x80", b"\xff", b"\xf0\x9f\x98", b"\xe6\xbc", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90"])
anything = st.one_of(
    st.binary(max_size=40),
    st.lists(st.one_of(tricky.map(str.encode), broken), max_size=8).map(b"".join),
)
stops_of = st.lists(st.text(alphabet="ab", min_size=1, max_size=5), max_size=4)
tricky_stops = st.lists(st.text(alphabet=["a", "é", "\u0301", "漢", "\u200d", "👧", "\ufffd"], min_size=1, max_size=4))
cuts = st.lists(st.integers(0, 99), max_size=8)


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


@given(anything, cuts)
@example(FAMILY.encode(), range(30))
@example(ACCENT.encode(), [1, 2])
@example(b"\xef\xbf\xbd", [1, 2])  # a real U+FFFD
@example(b"\xef\xbf\xbd\xef\xbf", [1, 2, 4])  # one, and one cut off
@example(b"\xf0\x9f", [1])  # cut off at the end
@example(b"\xe2\x28\xa1", [1, 2])  # invalid
@example(b"\xed\xa0\xbd\xed\xb8\x80", range(6))  # an emoji as two surrogates, which is no UTF-8
def test_utf8_is_the_same_for_every_split(data: bytes, at: list[int]) -> None:
    decoder = Utf8Decoder()
    joined = "".join(decoder.feed(chunk) for chunk in cut(data, at)) + decoder.finish()
    assert joined == data.decode("utf-8", "replace")


@given(tricky)
def test_a_character_comes_with_its_last_byte(text: str) -> None:
    decoder = Utf8Decoder()
    for character in text:
        *others, last = (bytes([byte]) for byte in character.encode())
        assert [decoder.feed(byte) for byte in others] == [""] * len(others)
        assert decoder.feed(last) == character
    assert decoder.finish() == ""


@given(anything | letters.map(str.encode), stops_of | tricky_stops, cuts)
@example(b"xxabcd", ["abcd", "bc"], [])  # nested: the inner one is complete first
@example(b"aab", ["ab", "aab"], [1])  # both at once: the longer one
@example(b"aaab", ["aab"], [1, 2, 3])  # it begins anew inside its own beginning
@example(b"ababab", ["abab"], [2])
@example(b"abcbd", ["abce", "bcbd"], [3])  # another one goes on where the first fails
@example(b"a\xef\xbf\xbd", ["a\ufffd"], [2])
@example(b"a\xf0\x9f", ["a\ufffd"], [2])  # the replacement of a cut sequence completes a stop string at the very end
@example(FAMILY.encode(), ["\u200d👧"], range(30))
def test_stops_are_the_same_for_every_split(data: bytes, stops: list[str], at: list[int]) -> None:
    assembler = TextAssembler(stops)
    joined = "".join(assembler.feed(chunk) for chunk in cut(data, at)) + assembler.finish()
    assert (joined, assembler.matched) == reference(data.decode("utf-8", "replace"), stops)


@given(letters | tricky, stops_of | tricky_stops, cuts)
def test_nothing_of_a_stop_string_comes_out_on_the_way(text: str, stops: list[str], at: list[int]) -> None:
    """Every piece that comes is a beginning of the final text, whatever comes later."""
    expected, _ = reference(text, stops)
    assembler, passed = TextAssembler(stops), ""
    for chunk in cut(text.encode(), at):
        passed += assembler.feed(chunk)
        assert expected.startswith(passed)


@settings(max_examples=200)
@given(st.text(alphabet="ab", max_size=7), st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=4))
@example("a", ["abab", "ba"])  # the first can never win, so its beginning is not held back
def test_nothing_is_held_back_longer_than_a_stop_could_match(text: str, stops: list[str]) -> None:
    """By trying every continuation: what is held back is exactly what one of them would cut off."""
    matcher, passed = StopMatcher(stops), ""
    longest = max(map(len, stops), default=1)
    futures = ["".join(future) for size in range(longest) for future in product("abc", repeat=size)]
    for end, character in enumerate(text, 1):
        passed += matcher.feed(character)
        if matcher.matched is not None:
            return
        certain = min(len(reference(text[:end] + future, stops)[0]) for future in futures)
        assert passed == text[:end][:certain]


def test_many_stop_strings_cost_what_one_as_long_does() -> None:
    """Each is looked at once, and not once for each other one."""

    class Counted(str):
        looks = 0

        def __getitem__(self, place: Any) -> str:
            type(self).looks += 1
            return super().__getitem__(place)

    matcher = StopMatcher([Counted(f"<{number}>") for number in range(300)])
    assert Counted.looks <= 300
    assert matcher.feed("a <7 <299> b") == "a <7 "
    assert matcher.matched == "<299>"


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


def test_a_long_stop_string_that_almost_comes_again_and_again() -> None:
    stop = "a" * 2000 + "b"
    assembler = TextAssembler([stop])
    pieces = [assembler.feed(b"a") for _ in range(10_000)]
    assert "".join(pieces) == "a" * 8000
    assert pieces[2000:] == ["a"] * 8000
    assert assembler.feed(b"b") == ""
    assert assembler.matched == stop


def test_an_empty_stop_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        StopMatcher(["a", ""])


def test_what_was_held_back_comes_once() -> None:
    matcher = StopMatcher(["stop"])
    assert matcher.feed("a st") == "a "
    assert [matcher.finish(), matcher.finish()] == ["st", ""]
