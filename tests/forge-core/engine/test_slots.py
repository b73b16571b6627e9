from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.engine.slots import Slots, common_prefix

from .toy import ToyEngine

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=12)


@given(TOKENS, TOKENS, st.integers(0, 12))
def test_common_prefix_is_that_of_a_plain_loop(one, other, limit):
    plain = 0
    while plain < min(len(one), len(other), limit) and one[plain] == other[plain]:
        plain += 1
    assert common_prefix(one, other, limit) == plain


class User:
    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens
        self.computed = 0
        self.slot = -1


@given(
    st.lists(st.tuples(st.sampled_from(["take", "release", "forget", "drop"]), TOKENS, st.integers(0, 5)), max_size=40),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 4),
    st.sampled_from([20, 1000]),
)
def test_whatever_happens_a_slot_holds_what_it_is_said_to_hold(events, can_trim, can_copy, can_rest, keep, capacity):
    engine = ToyEngine(n_ctx=20, n_slots=4, can_trim=can_trim, can_copy=can_copy, can_rest=can_rest, capacity=capacity)
    slots = Slots(engine, keep)
    users: list[User] = []
    for kind, tokens, number in events:
        if kind == "take" and len(users) < 3:
            user = User(tokens)
            user.slot, user.computed = slots.take(user)
            assert 0 <= user.computed < len(tokens)
            assert engine.slots[user.slot] == tokens[: user.computed]
            assert user.slot not in [*engine.resting, *(other.slot for other in users)]
            engine.slots[user.slot] = list(tokens)  # it is computed
            user.computed = len(tokens)
            users.append(user)
        elif kind in ("release", "forget") and users:
            user = users.pop(number % len(users))
            slots.release(user.slot, keep=kind == "release")
            if number % 2:
                slots.settle()
            if kind == "forget" or not keep:
                assert engine.slots[user.slot] == []
        elif kind == "drop":
            held = sum(map(bool, engine.slots))
            dropped = slots.make_room()
            assert sum(map(bool, engine.slots)) == held - dropped
        for user in users:
            assert engine.slots[user.slot] == user.tokens
        busy = [user.slot for user in users]
        kept = [index for index, each in enumerate(engine.slots) if each and index not in busy]
        assert len(kept) + len(engine.resting) <= keep
        assert sum(map(len, engine.resting.values())) <= engine.n_ctx


def test_a_conversation_takes_its_own_slot_over():
    engine = ToyEngine(n_slots=3)
    slots = Slots(engine, 2)
    first = User([1, 2, 3])
    first.slot, _ = slots.take(first)
    engine.slots[first.slot], first.computed = [1, 2, 3], 3
    slots.release(first.slot, keep=True)
    again = User([1, 2, 3, 4, 5])
    assert slots.take(again) == (first.slot, 3)


def test_a_branch_copies_and_leaves_the_rest_to_others():
    engine = ToyEngine(n_slots=3)
    slots = Slots(engine, 2)
    first = User([1, 2, 3, 4, 5, 6])
    first.slot, _ = slots.take(first)
    engine.slots[first.slot], first.computed = [1, 2, 3, 4, 5, 6], 6
    slots.release(first.slot, keep=True)
    branch = User([1, 2, 3, 9])
    slot, held = slots.take(branch)
    assert (slot != first.slot, held) == (True, 3)
    assert engine.slots[first.slot] == [1, 2, 3, 4, 5, 6]


def test_a_text_that_rests_takes_no_room_and_serves_others():
    engine = ToyEngine(n_slots=4, can_rest=True)
    slots = Slots(engine, 2)
    text = list(range(64))
    first = User(text)
    first.slot, _ = slots.take(first)
    engine.slots[first.slot], first.computed = list(text), 64
    slots.release(first.slot, keep=True)
    assert any(engine.slots)  # until the next step
    slots.settle()
    assert not any(engine.slots)
    assert not slots.make_room()
    short, branch, again = User([*text[:5], 99]), User([*text[:40], 99]), User([*text, 7])
    slot, held = slots.take(short)
    assert (slot != first.slot, held) == (True, 0)  # for five tokens nothing is moved
    slot, held = slots.take(branch)
    assert (slot != first.slot, held) == (True, 40)
    assert slots.take(again) == (first.slot, 64)
    assert engine.slots[first.slot] == text


def test_a_text_that_finds_no_room_to_come_back_is_computed_again():
    engine = ToyEngine(n_slots=3, can_rest=True, capacity=4)
    slots = Slots(engine, 2)
    first = User([1, 2, 3])
    first.slot, _ = slots.take(first)
    engine.slots[first.slot], first.computed = [1, 2, 3], 3
    slots.release(first.slot, keep=True)
    slots.settle()
    other = User([9, 9])
    other.slot, _ = slots.take(other)
    engine.slots[other.slot] = [9, 9]
    assert slots.take(User([1, 2, 3, 4])) == (first.slot, 0)
    assert engine.slots[first.slot] == []


@pytest.mark.parametrize("busy", [True, False])
def test_what_is_in_the_engines_memory_comes_before_what_rests(busy):
    """There is hardly ever room for what comes back, where a copy of what is there takes none."""
    engine = ToyEngine(n_slots=4, can_rest=True)
    slots = Slots(engine, 3)
    text = list(range(64))

    def use(tokens):
        user = User(tokens)
        user.slot, _ = slots.take(user)
        engine.slots[user.slot], user.computed = list(tokens), len(tokens)
        return user

    slots.release(use([*text, 100]).slot, keep=True)
    slots.settle()
    here = use([*text, 200])
    if not busy:
        slots.release(here.slot, keep=True)
    sources, copy = [], engine.copy

    def copying(source, target, length):
        sources.append(source)
        return copy(source, target, length)

    engine.copy = copying
    assert slots.take(User([*text, 300]))[1] == 64
    assert sources == [here.slot]


def test_a_text_that_another_one_begins_with_is_kept_once():
    engine = ToyEngine(n_slots=4)
    slots = Slots(engine, 3)

    def leave(text: list[int]) -> None:
        user = User(text)
        user.slot, _ = slots.take(user)
        engine.slots[user.slot], user.computed = list(text), len(text)
        slots.release(user.slot, keep=True)

    leave([5, 6])
    for text in ([1, 2, 3], [1, 2, 3], [1, 2], [1, 2, 3, 4], [1, 2, 3]):
        leave(text)
    assert sorted(each for each in engine.slots if each) == [[1, 2, 3, 4], [5, 6]]


def test_a_state_that_can_not_be_cut_is_kept_beside_a_longer_one():
    engine = ToyEngine(n_slots=4, can_trim=False)
    slots = Slots(engine, 3)
    users = [User([1, 2]), User([1, 2, 3]), User([1, 2])]
    for user in users:
        user.slot, _ = slots.take(user)
    for user in users:
        engine.slots[user.slot], user.computed = list(user.tokens), len(user.tokens)
        slots.release(user.slot, keep=True)
    assert sorted(each for each in engine.slots if each) == [[1, 2], [1, 2, 3]]


def test_what_another_is_about_to_compute_is_promised():
    engine = ToyEngine(n_slots=3)
    slots = Slots(engine, 2)
    first = User([1, 2, 3, 4, 5, 6])
    first.slot, _ = slots.take(first)
    assert slots.promised([1, 2, 3, 4, 9]) == 4
    engine.slots[first.slot], first.computed = [1, 2], 2
    assert slots.promised([1, 2, 3, 4, 9]) == 2
    assert slots.promised([1, 2]) == 0
    assert slots.promised([9]) == 0


def test_the_prefix_that_was_not_used_for_longest_goes_first():
    engine = ToyEngine(n_slots=3)
    slots = Slots(engine, 3)
    for tokens in ([1, 1], [2, 2], [3, 3]):
        user = User(tokens)
        user.slot, _ = slots.take(user)
        engine.slots[user.slot], user.computed = list(tokens), 2
        slots.release(user.slot, keep=True)
    user = User([1, 1, 1])
    user.slot, held = slots.take(user)  # the oldest is used again
    assert held == 2
    engine.slots[user.slot], user.computed = [1, 1, 1], 3
    slots.release(user.slot, keep=True)
    slots.take(User([7, 7]))
    assert [2, 2] not in engine.slots
    assert [1, 1, 1] in engine.slots


def use(slots: Slots, engine: ToyEngine, tokens: list[int]) -> User:
    """A request with all its tokens computed."""
    user = User(tokens)
    user.slot, user.computed = slots.take(user)
    engine.slots[user.slot], user.computed = list(tokens), len(tokens)
    return user


def leave(slots: Slots, engine: ToyEngine, *texts: list[int]) -> None:
    for tokens in texts:
        slots.release(use(slots, engine, tokens).slot, keep=True)


def test_every_slot_is_used_before_one_is_used_again():
    slots = Slots(ToyEngine(n_slots=3), 0)
    users = [User([number, number]) for number in range(3)]
    assert [slots.take(user) for user in users] == [(0, 0), (1, 0), (2, 0)]
    assert dict(slots.busy) == dict(enumerate(users))
    slots.release(1, keep=False)
    assert slots.take(User([8, 8])) == (1, 0)


def test_nothing_is_promised_where_nobody_computes():
    engine = ToyEngine(n_slots=3)
    slots = Slots(engine, 2)
    assert slots.promised([1, 2, 3]) == 0
    leave(slots, engine, [1, 2, 3])
    assert slots.promised([1, 2, 3]) == 0


def test_a_promise_leaves_the_last_token_and_what_is_there_already():
    engine = ToyEngine(n_slots=4)
    slots = Slots(engine, 3)
    leave(slots, engine, [1, 2, 3, 4])
    user = User([1, 2, 3, 4, 5, 6])
    user.slot, user.computed = slots.take(user)
    leave(slots, engine, [1, 2, 3, 4, 5])
    assert slots.promised([1, 2, 3, 4, 5, 6]) == 0  # the sixth has to be computed anyway
    assert slots.promised([1, 2, 3, 4, 5, 6, 7]) == 1
    assert slots.promised([1, 2, 9]) == 0


@pytest.mark.parametrize(("can_trim", "can_copy"), [(True, False), (False, True), (False, False)])
def test_an_engine_that_can_not_share_promises_nothing(can_trim, can_copy):
    slots = Slots(ToyEngine(can_trim=can_trim, can_copy=can_copy), 2)
    slots.take(User([1, 2, 3, 4]))
    assert slots.promised([1, 2, 3, 4]) == 0


@pytest.mark.parametrize(("shared", "taken_over"), [(1, False), (2, True), (3, True)])
def test_without_copies_half_of_a_text_is_enough_to_take_it_over(shared, taken_over):
    engine = ToyEngine(n_slots=3, can_copy=False)
    slots = Slots(engine, 2)
    leave(slots, engine, [1, 2, 3, 4])
    _, held = slots.take(User([*[1, 2, 3, 4][:shared], 9, 9]))
    assert held == (shared if taken_over else 0)
    assert ([1, 2, 3, 4] in engine.slots) != taken_over


def test_what_serves_others_is_used_and_stays():
    engine = ToyEngine(n_slots=4)
    slots = Slots(engine, 2)
    leave(slots, engine, [1, 2, 3, 4], [5, 5])
    branch = use(slots, engine, [1, 2, 9])  # copies from the oldest
    leave(slots, engine, [6, 6])
    assert [5, 5] not in engine.slots
    slots.release(branch.slot, keep=False)
    leave(slots, engine, [1, 2])  # is part of one that is kept
    leave(slots, engine, [7, 7])
    assert sorted(each for each in engine.slots if each) == [[1, 2, 3, 4], [7, 7]]


def test_what_rests_has_as_many_tokens_as_a_request_may_have():
    engine = ToyEngine(n_ctx=6, n_slots=5, can_rest=True)
    slots = Slots(engine, 4)
    leave(slots, engine, [1, 1, 1], [2, 2, 2])
    slots.settle()
    assert sorted(engine.resting.values()) == [[1, 1, 1], [2, 2, 2]]
    leave(slots, engine, [3])
    slots.settle()
    assert sorted(engine.resting.values()) == [[2, 2, 2], [3]]


def test_what_is_given_up_rests_no_more():
    engine = ToyEngine(n_slots=3, can_rest=True)
    slots = Slots(engine, 1)
    for tokens in ([1, 1], [2, 2], [3, 3]):
        leave(slots, engine, tokens)
        slots.settle()
        assert list(engine.resting.values()) == [tokens]
    assert not slots.make_room()


def test_making_room_begins_with_the_oldest():
    engine = ToyEngine(n_slots=3)
    slots = Slots(engine, 2)
    leave(slots, engine, [1, 1], [2, 2])
    assert slots.make_room()
    assert sorted(engine.slots) == [[], [], [2, 2]]
    assert slots.make_room()
    assert not slots.make_room()


def test_the_last_slot_is_taken_over_for_what_it_holds():
    engine = ToyEngine(n_slots=2)
    slots = Slots(engine, 1)
    slots.take(User([8, 8]))
    leave(slots, engine, [1, 2, 3, 4])
    user = User([1, 2, 9])
    assert slots.take(user) == (1, 2)
    assert engine.slots[1] == [1, 2]
    assert slots.busy[1] is user


def test_without_copies_what_is_busy_is_no_help():
    engine = ToyEngine(n_slots=3, can_copy=False)
    slots = Slots(engine, 2)
    use(slots, engine, [1, 2, 3])
    assert slots.take(User([1, 2, 3, 4])) == (1, 0)


@pytest.mark.parametrize(("shared", "held"), [(31, 0), (32, 32)])
def test_a_text_that_rests_is_woken_for_enough_of_it(shared, held):
    engine = ToyEngine(n_slots=3, can_rest=True)
    slots = Slots(engine, 2)
    text = list(range(40))
    leave(slots, engine, text)
    slots.settle()
    assert slots.take(User([*text[:shared], 99]))[1] == held
