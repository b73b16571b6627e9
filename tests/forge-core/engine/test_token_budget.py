from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llamaforge.engine.token_budget import split_budget

PENDING = st.lists(st.integers(1, 5000), min_size=1, max_size=40)


@given(PENDING, st.integers(1, 2048))
def test_a_step_is_full_where_there_is_work_and_never_fuller_than_the_budget(pending, budget):
    shares = split_budget(pending, budget)
    assert all(0 <= one <= most for one, most in zip(shares, pending, strict=True))
    assert sum(shares) == min(budget, sum(pending))


@given(PENDING, st.integers(40, 2048))
def test_answers_under_way_always_get_their_token(pending, budget):
    shares = split_budget(pending, budget)
    assert all(one == 1 for one, most in zip(shares, pending, strict=True) if most == 1)


@given(PENDING, st.integers(41, 2048))
def test_the_oldest_prompt_always_gets_on(pending, budget):
    prompts = [index for index, tokens in enumerate(pending) if tokens > 1]
    if prompts:
        left = budget - pending.count(1)
        assert split_budget(pending, budget)[prompts[0]] >= min(pending[prompts[0]], (left + 1) // 2)


def test_a_short_prompt_does_not_wait_for_a_long_one():
    assert split_budget([4000, 30], 512) == [482, 30]
    assert split_budget([4000, 4000, 30], 512) == [482, 0, 30]


def test_prompts_alike_go_in_order_of_arrival():
    assert split_budget([100, 100, 100], 150) == [100, 50, 0]


def test_the_oldest_prompt_gets_half_and_no_more_while_others_wait():
    assert split_budget([4000, 300, 300], 512) == [256, 256, 0]
    assert split_budget([4000, 300, 300], 511) == [256, 255, 0]
    assert split_budget([4000, 300, 1], 513) == [256, 256, 1]
    assert split_budget([100, 300, 300], 512) == [100, 300, 112]


def test_two_tokens_are_a_prompt():
    assert split_budget([2, 1, 2], 4) == [2, 1, 1]
    assert split_budget([1, 1, 1], 2) == [1, 1, 0]
