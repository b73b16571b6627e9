"""Percentiles, intervals over trials, and the comparison of two sets of trials. Pure functions.

Percentiles interpolate linearly between order statistics (Hyndman and Fan's type 7, numpy's default). Intervals are
bootstrap percentile intervals of the mean over trials, expanded for few trials as in T. C. Hesterberg, "What Teachers
Should Know About the Bootstrap", The American Statistician 69 (2015): the plain interval of five trials covers far
less than it says. Two sets are compared by an exact permutation test of the trials (Fisher), on the largest statistic
of all figures (Westfall and Young), so that many figures raise no more false alarms than one.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist, fmean

import msgspec

PERCENTILES = (50, 90, 95, 99)
"""Those of every metric."""
_RESAMPLES = 2000
_PERMUTATIONS = 5000
"""More than all of 7 against 7 trials; beyond, as many are drawn."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The percentile *percent* (0 to 100) of values in ascending order. Raises ValueError without values."""
    if not ordered:
        raise ValueError("there are no values")
    place = (len(ordered) - 1) * percent / 100
    low = min(int(place), len(ordered) - 1)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def summary(values: Sequence[float]) -> dict[str, float]:
    """Mean and percentiles, by name: ``mean``, ``p50`` ... Empty without values."""
    if not values:
        return {}
    ordered = sorted(values)
    return {"mean": fmean(ordered)} | {f"p{percent}": percentile(ordered, percent) for percent in PERCENTILES}


@lru_cache(maxsize=64)
def _resamples(count: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Which trials each resample has: all of them where they are few, else drawn."""
    if count**count <= _RESAMPLES * 2:
        return tuple(itertools.product(range(count), repeat=count))
    draw = random.Random(seed)  # noqa: S311 - statistics, not cryptography
    return tuple(tuple(draw.choices(range(count), k=count)) for _ in range(_RESAMPLES))


def interval(values: Sequence[float], level: float = 0.95, *, seed: int = 0) -> tuple[float, float] | None:
    """The confidence interval of the mean of *values*, one for each trial. None for fewer than two.

    Raises ValueError unless 0 < *level* < 1.
    """
    if not 0 < level < 1:
        raise ValueError("level must lie between 0 and 1")
    if len(values) < 2:
        return None
    count = len(values)
    means = sorted(fmean([values[index] for index in chosen]) for chosen in _resamples(count, seed))
    tail = NormalDist().cdf(-math.sqrt(count / (count - 1)) * student_quantile((1 + level) / 2, count - 1)) * 100
    return percentile(means, tail), percentile(means, 100 - tail)


@lru_cache(maxsize=256)
def student_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t distribution, for a *probability* above one half."""
    low, high = 0.0, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        if _student_cdf(middle, degrees) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _student_cdf(t: float, degrees: int) -> float:
    """For t >= 0 and whole degrees of freedom, in closed form (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    theta = math.atan(t / math.sqrt(degrees))
    cosine, sine = math.cos(theta), math.sin(theta)
    total, term = 0.0, 1.0
    if degrees % 2:
        if degrees > 1:
            term = cosine
            total = term
            for step in range(3, degrees, 2):
                term *= cosine * cosine * (step - 1) / step
                total += term
        share = 2 / math.pi * (theta + sine * total)
    else:
        total = 1.0
        for step in range(2, degrees, 2):
            term *= cosine * cosine * (step - 1) / step
            total += term
        share = sine * total
    return (1 + share) / 2


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How one figure differs between two sets of trials."""

    ratio: float
    """Geometric mean of the new trials over that of the old ones."""
    low: float | None
    """Lower end of the ratio's interval. None for fewer than two trials on a side."""
    high: float | None
    """Its upper end."""
    p_value: float
    """How often trials that differ by chance alone give a difference as large, for the largest of all figures."""


def compare_trials(
    old: Sequence[Sequence[float]], new: Sequence[Sequence[float]], *, level: float = 0.95, seed: int = 0
) -> list[Difference]:
    """Compare figures, each given by its values in the *old* and in the *new* trials; all positive.

    A permutation moves whole trials, so figures of one trial stay together, whatever their dependence.

    Raises ValueError for values that aren't positive, or figures with different numbers of trials.
    """
    if len(old) != len(new):
        raise ValueError("both sides need the same figures")
    if not old:
        return []
    before, after = len(old[0]), len(new[0])
    for left, right in zip(old, new, strict=True):
        if (len(left), len(right)) != (before, after) or not left or not right:
            raise ValueError("every figure needs a value for each trial")
        if min(min(left), min(right)) <= 0:
            raise ValueError("values must be positive")
    logs = [[math.log(value) for value in (*left, *right)] for left, right in zip(old, new, strict=True)]
    observed = [_welch(each[:before], each[before:]) for each in logs]
    most = [max(abs(_pick(each, chosen)) for each in logs) for chosen in _splits(before, after, seed)]
    found = []
    for each, statistic in zip(logs, observed, strict=True):
        reached = sum(value >= abs(statistic) - 1e-9 for value in most)
        low, high = _ratio_interval(each[:before], each[before:], level)
        found.append(
            Difference(
                ratio=math.exp(fmean(each[before:]) - fmean(each[:before])),
                low=low,
                high=high,
                p_value=reached / len(most),
            )
        )
    return found


def least_p_value(before: int, after: int) -> float:
    """The smallest p-value that so many trials can give. Nothing can be found if it is above the error rate."""
    ways = math.comb(before + after, before)
    return (2 if before == after else 1) / ways


def _splits(before: int, after: int, seed: int) -> list[tuple[int, ...]]:
    """Which trials count as the old ones, in each permutation; the observed one is among them."""
    total = before + after
    if math.comb(total, before) <= _PERMUTATIONS:
        return list(itertools.combinations(range(total), before))
    draw = random.Random(seed)  # noqa: S311 - statistics, not cryptography
    drawn = [tuple(draw.sample(range(total), before)) for _ in range(_PERMUTATIONS - 1)]
    return [tuple(range(before)), *drawn]


def _pick(values: Sequence[float], chosen: tuple[int, ...]) -> float:
    inside = set(chosen)
    left = [values[index] for index in chosen]
    right = [value for index, value in enumerate(values) if index not in inside]
    return _welch(left, right)


def _welch(left: Sequence[float], right: Sequence[float]) -> float:
    """Welch's t. Without any spread it is the difference itself, made large."""
    difference = fmean(right) - fmean(left)
    error = math.sqrt(_variance(left) / len(left) + _variance(right) / len(right))
    if error < 1e-12:
        return 0.0 if abs(difference) < 1e-12 else math.copysign(1e9, difference) * abs(difference)
    return difference / error


def _variance(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    mean = fmean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _ratio_interval(left: Sequence[float], right: Sequence[float], level: float) -> tuple[float | None, float | None]:
    """Welch's interval of the ratio, with the Welch-Satterthwaite degrees of freedom, rounded down."""
    if len(left) < 2 or len(right) < 2:
        return None, None
    one, other = _variance(left) / len(left), _variance(right) / len(right)
    difference, error = fmean(right) - fmean(left), math.sqrt(one + other)
    if error == 0:
        return math.exp(difference), math.exp(difference)
    degrees = (one + other) ** 2 / (one**2 / (len(left) - 1) + other**2 / (len(right) - 1))
    reach = student_quantile((1 + level) / 2, max(1, int(degrees))) * error
    return math.exp(difference - reach), math.exp(difference + reach)
