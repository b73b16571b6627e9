"""Schedules: how many, in which order, at which rate."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_bench.arrivals import PATTERNS, Pattern, schedule
from llamaforge.errors import InvalidParameterError

PLAIN: list[Pattern] = ["poisson", "gamma", "constant", "burst"]


@given(st.sampled_from(PLAIN), st.floats(0.1, 1000), st.integers(0, 200), st.integers(0, 10**6))
def test_a_schedule_is_complete_ordered_and_repeatable(pattern: Pattern, rate: float, count: int, seed: int) -> None:
    times = schedule(pattern, rate, count, seed=seed, burstiness=0.5, burst_size=3)
    assert len(times) == count
    assert times == sorted(times)
    assert not times or times[0] == 0
    assert times == schedule(pattern, rate, count, seed=seed, burstiness=0.5, burst_size=3)


@pytest.mark.parametrize("pattern", PLAIN)
def test_the_rate_is_kept_on_average(pattern: Pattern) -> None:
    times = schedule(pattern, 20, 20_000, burstiness=0.5, burst_size=10)
    assert len(times) / times[-1] == pytest.approx(20, rel=0.03)


@pytest.mark.parametrize(("shape", "spread"), [(0.25, 2.0), (1.0, 1.0), (4.0, 0.5)])
def test_burstiness_is_the_shape_of_the_gaps(shape: float, spread: float) -> None:
    times = schedule("gamma", 10, 20_000, burstiness=shape)
    gaps = [after - before for before, after in pairwise(times)]
    assert stdev(gaps) / fmean(gaps) == pytest.approx(spread, rel=0.05)  # 1 / sqrt(shape)


def test_poisson_is_not_constant_and_gamma_is_not_poisson() -> None:
    drawn = {pattern: schedule(pattern, 10, 50, burstiness=0.3) for pattern in PLAIN}
    assert len({tuple(times) for times in drawn.values()}) == len(PLAIN)
    assert drawn["constant"] == pytest.approx([number / 10 for number in range(50)])


def test_bursts_come_at_once() -> None:
    assert schedule("burst", 10, 7, burst_size=3) == pytest.approx([0, 0, 0, 0.3, 0.3, 0.3, 0.6])


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=40, unique=True), st.floats(0.1, 10))
def test_a_trace_keeps_its_shape(timestamps: list[float], scale: float) -> None:
    times = schedule("trace", None, len(timestamps), timestamps=timestamps, time_scale=scale)
    first = min(timestamps)
    assert times == pytest.approx([(time - first) * scale for time in sorted(timestamps)])


def test_a_trace_is_scaled_to_a_rate() -> None:
    times = schedule("trace", 2.0, 5, timestamps=[100, 101, 103, 104, 108])
    assert times[-1] == pytest.approx(2.0)
    assert times[1] / times[-1] == pytest.approx(1 / 8)


@pytest.mark.parametrize(
    ("pattern", "more", "name"),
    [
        ("sawtooth", {}, "arrival_pattern"),
        ("poisson", {"rate": 0.0}, "arrival_rate"),
        ("constant", {"rate": None}, "arrival_rate"),
        ("constant", {"rate": float("nan")}, "arrival_rate"),
        ("gamma", {"burstiness": 0.0}, "burstiness"),
        ("burst", {"burst_size": 0}, "burst_size"),
        ("trace", {"timestamps": [1.0]}, "arrival_pattern"),
        ("trace", {"timestamps": [1.0, 2.0], "rate": None, "time_scale": -1}, "time_scale"),
    ],
)
def test_mistakes(pattern: Pattern, more: dict[str, object], name: str) -> None:
    settings = {"rate": 1.0, "count": 2, **more}
    with pytest.raises(InvalidParameterError) as caught:
        schedule(pattern, **settings)  # type: ignore[arg-type]
    assert caught.value.name == name


def test_every_pattern_is_known() -> None:
    assert set(PATTERNS) == {*PLAIN, "trace"}
