"""Percentiles, intervals over trials, comparisons: properties, and known values."""

from __future__ import annotations

import random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_bench.statistics import compare_trials, interval, least_p_value, percentile, student_quantile, summary

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60)


@given(VALUES, st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    assert percentile(sorted(values), percent) == pytest.approx(float(np.percentile(values, percent)), rel=1e-9)


def test_without_values_there_is_no_summary() -> None:
    assert summary([]) == {}
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("probability", "degrees", "known"),
    # Tables of Student's t.
    [
        (0.975, 1, 12.7062),
        (0.975, 2, 4.3027),
        (0.975, 4, 2.7764),
        (0.95, 5, 2.0150),
        (0.995, 9, 3.2498),
        (0.975, 30, 2.0423),
    ],
)
def test_quantiles_of_student(probability: float, degrees: int, known: float) -> None:
    assert student_quantile(probability, degrees) == pytest.approx(known, abs=1e-3)


@given(st.lists(st.floats(0.001, 1e3), min_size=2, max_size=8), st.floats(0.5, 0.99))
def test_an_interval_lies_within_the_trials_and_holds_their_mean(values: list[float], level: float) -> None:
    found = interval(values, level)
    assert found is not None
    low, high = found
    slack = 1e-9 * max(values)
    assert min(values) - slack <= low <= high <= max(values) + slack
    assert low - slack <= fmean(values) <= high + slack or len(set(values)) > 1


def test_one_trial_has_no_interval_and_a_higher_level_a_wider_one() -> None:
    assert interval([1.0]) is None
    values = [1.0, 1.2, 0.9, 1.1, 1.05, 0.95]
    narrow, wide = interval(values, 0.8), interval(values, 0.99)
    assert narrow is not None
    assert wide is not None
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(values, 1.0)


def test_intervals_of_five_trials_cover_what_they_say() -> None:
    draw = random.Random(7)
    covered = 0
    for _ in range(400):
        low, high = interval([draw.gauss(10, 1) for _ in range(5)], 0.95) or (0, 0)
        covered += low <= 10 <= high
    assert covered / 400 > 0.9  # the plain percentile interval: 0.82


TRIALS = st.lists(st.floats(0.01, 100), min_size=2, max_size=4)


@given(TRIALS, TRIALS)
def test_sides_can_be_exchanged(left: list[float], right: list[float]) -> None:
    (one,), (other,) = compare_trials([left], [right]), compare_trials([right], [left])
    assert one.ratio == pytest.approx(1 / other.ratio)
    assert one.p_value == pytest.approx(other.p_value)
    assert least_p_value(len(left), len(right)) / 2 < one.p_value <= 1


@given(TRIALS, TRIALS, st.floats(0.001, 1000))
def test_a_unit_changes_nothing(left: list[float], right: list[float], factor: float) -> None:
    (one,) = compare_trials([left], [right])
    (other,) = compare_trials([[factor * value for value in left]], [[factor * value for value in right]])
    assert one.ratio == pytest.approx(other.ratio, rel=1e-6)


def _figures(draw: random.Random, factor: float, noise: float) -> list[list[float]]:
    """Four figures of five trials that share most of a trial's noise, as those of a real run do."""
    shared = [draw.gauss(0, noise) for _ in range(5)]
    return [[factor * (1 + each + draw.gauss(0, noise / 2)) for each in shared] for _ in range(4)]


def test_equal_engines_are_called_equal() -> None:
    draw = random.Random(1)
    alarms = 0
    for _ in range(300):
        found = compare_trials(_figures(draw, 1, 0.015), _figures(draw, 1, 0.015))
        alarms += min(each.p_value for each in found) <= 0.05
    assert alarms / 300 <= 0.05 + 0.025  # two standard errors


def test_a_slowdown_by_five_percent_is_found() -> None:
    draw = random.Random(2)
    seen = 0
    for _ in range(100):
        found = compare_trials(_figures(draw, 1, 0.015), _figures(draw, 1.05, 0.015))
        seen += min(each.p_value for each in found) <= 0.05
    assert seen >= 90


def test_too_few_trials_can_show_nothing() -> None:
    (found,) = compare_trials([[1.0, 1.01, 0.99]], [[5.0, 5.01, 4.99]])
    assert found.p_value == pytest.approx(least_p_value(3, 3)) == pytest.approx(0.1)
    assert least_p_value(4, 4) < 0.05 < least_p_value(3, 3)


@pytest.mark.parametrize(
    ("old", "new"), [([[1.0]], []), ([[1.0], [1.0, 2.0]], [[1.0], [1.0]]), ([[0.0]], [[1.0]]), ([[]], [[]])]
)
def test_what_can_not_be_compared(old: list[list[float]], new: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"figures|value for each trial|positive"):
        compare_trials(old, new)
