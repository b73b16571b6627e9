"""Which rows go through the model together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forge_hf.passes import Prices, split

ROWS = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 4000)).map(lambda row: (row[0], sum(row))), min_size=1)
CPU = Prices(token=1 / 16, key=0.0002)


def cost(rows: list[tuple[int, int]], prices: Prices) -> float:
    widest, longest = (max(column) for column in zip(*rows, strict=True))
    return 1 + len(rows) * (widest * prices.token + longest * prices.key)


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
    assert len(split(rows, Prices(token=1 / 256, key=0.0))) == 1
