from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llamaforge.engine.prompt_lookup import PromptLookup

TOKENS = st.lists(st.integers(0, 3), max_size=60)


def plainly(tokens: list[int], count: int) -> list[int]:
    """The same by searching the text itself."""
    for length in (3, 2):
        tail = tokens[-length:]
        if len(tail) == length:
            for end in range(len(tokens) - 1, length - 1, -1):
                if tokens[end - length : end] == tail:
                    return tokens[end : end + count]
    return []


@given(TOKENS, st.integers(1, 8))
def test_guesses_are_what_followed_the_same_tail_last(tokens, count):
    assert PromptLookup(tokens, count).guess(count) == plainly(tokens, count)


@given(TOKENS, TOKENS)
def test_tokens_may_come_one_by_one(first, more):
    grown = PromptLookup(first, 8)
    for token in more:
        grown.add(token)
    assert grown.guess(8) == PromptLookup(first + more, 8).guess(8)


def test_it_guesses_fewer_where_it_guessed_wrong_and_more_where_it_guessed_right():
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3], 6)
    assert len(lookup.guess(10)) == 6
    lookup.learn(6, 0)
    assert len(lookup.guess(10)) == 1
    lookup.learn(1, 1)
    assert len(lookup.guess(10)) == 2
    assert lookup.guess(1) == [4]
    assert lookup.guess(0) == []
