"""Which rows go through the model together."""

from __future__ import annotations

import itertools

from hypothesis import example, given
from hypothesis import strategies as st

from forge_hf.cost_model import AttentionCost, StepCost, parts, split

ROWS = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 4000)).map(lambda row: (row[0], sum(row))), min_size=1)
CPU = StepCost(token=1 / 16, key=0.0002)


def cost(rows: list[tuple[int, int]], step_cost: StepCost) -> float:
    widest, longest = (max(column) for column in zip(*rows, strict=True))
    return 1 + len(rows) * (widest * step_cost.token + longest * step_cost.key)


@given(ROWS)
def test_every_row_is_in_one_group_and_groups_cost_no_more_than_one_pass(rows):
    groups = split(rows, CPU)
    assert sorted(index for group in groups for index in group) == list(range(len(rows)))
    total = sum(cost([rows[index] for index in group], CPU) for group in groups)
    assert total <= cost(rows, CPU) + 1e-9
    widths = [max(rows[index][0] for index in group) for group in groups]
    assert widths == sorted(widths)


def test_answers_of_all_usual_lengths_go_together():
    assert len(split([(1, 40 + 20 * row) for row in range(16)], CPU)) == 1


def test_a_prompt_goes_alone_and_after_the_answers():
    assert split([(200, 200), (1, 50), (1, 90)], CPU) == [[1, 2], [0]]


def test_prompts_alike_go_together():
    assert split([(40, 40), (41, 41), (40, 240)], CPU) == [[0, 2, 1]]


def test_one_long_text_does_not_make_many_short_ones_look_at_its_length():
    rows = [(1, 100)] * 15 + [(1, 4000)]
    assert split(rows, CPU) == [list(range(15)), [15]]
    assert len(split([(1, 100), (1, 4000)], CPU)) == 1


def test_an_accelerator_pads_where_a_processor_would_not():
    rows = [(200, 200), (120, 120)]
    assert len(split(rows, CPU)) == 2
    assert len(split(rows, StepCost(token=1 / 256, key=0.0))) == 1


PARTINGS = st.builds(AttentionCost, call=st.floats(0, 300), heads=st.integers(1, 8), threads=st.integers(1, 32))


def cost_of_parts(keys: list[int], ends: tuple[int, ...], attention_cost: AttentionCost) -> float:
    return sum(
        attention_cost.cost(end - start, max(keys[start:end])) for start, end in zip((0, *ends), ends, strict=False)
    )


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=7), PARTINGS)
@example([1, 3], AttentionCost(call=2.0, heads=2, threads=3))
def test_attention_is_cut_where_it_costs_least(keys, attention_cost):
    ends = parts(keys, attention_cost)
    assert ends[-1] == len(keys)
    assert sorted(set(ends)) == ends
    assert ends[0] > 0
    every = [
        (*cuts, len(keys)) for count in range(len(keys)) for cuts in itertools.combinations(range(1, len(keys)), count)
    ]
    least = min(cost_of_parts(keys, each, attention_cost) for each in every)
    assert cost_of_parts(keys, tuple(ends), attention_cost) <= least * (1 + 1e-9)


def test_a_long_text_among_short_ones_is_attended_to_by_itself():
    attention_cost = AttentionCost(call=170, heads=3, threads=2)
    assert parts([100, 100, 2000, 100], attention_cost) == [2, 3, 4]
    assert parts([100, 110, 120, 130], attention_cost) == [4]
    # Fewer rows than that would leave threads idle.
    assert parts([100, 100, 2000, 100], AttentionCost(call=170, heads=3, threads=32)) == [4]
