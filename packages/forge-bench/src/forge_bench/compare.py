"""Whether one run is faster or slower than another one, with a verdict for continuous integration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from llamaforge.errors import InvalidParameterError

from .results import Level, Results
from .statistics import compare_trials, least_p_value

Verdict = Literal["slower", "faster", "mixed", "no difference", "too few trials", "invalid", "failures"]
"""``slower``, ``faster``: certain, and by more than the threshold. ``mixed``: some figures are better, others worse.
``no difference``: none was found. ``too few trials``: none could have been found. ``invalid``: a client was the
bottleneck. ``failures``: the new run failed more often."""

_BETTER_LOW: Final = {"ttft": "p50", "tpot": "p50", "e2e": "p50"}
_BETTER_HIGH: Final = {"output_tokens_per_second": "mean", "requests_per_second": "mean", "goodput": "mean"}
_CERTAIN_FAILURES: Final = 0.01


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure at one level."""

    level: str
    metric: str
    statistic: str
    unit: str
    before: float
    after: float
    change: float
    """Share by which the new value differs: 0.05 is 5% more."""
    low: float | None
    """Lower end of the change's interval."""
    high: float | None
    p_value: float
    """Corrected for all figures compared."""
    worse: bool | None
    """Whether it is certainly worse by more than the threshold (True) or better (False). None: neither."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What :func:`compare` found."""

    verdict: Verdict
    reasons: list[str]
    rows: list[Row]
    alpha: float
    threshold: float

    @property
    def exit_code(self) -> int:
        """0: not slower. 10: slower, mixed, or more failures. 11: it can't be said."""
        return {"slower": 10, "mixed": 10, "failures": 10, "too few trials": 11, "invalid": 11}.get(self.verdict, 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        built: dict[str, Any] = msgspec.to_builtins(self)
        return {**built, "exit_code": self.exit_code}


def compare(
    before: Results,
    after: Results,
    *,
    metrics: Sequence[str] | None = None,
    alpha: float = 0.05,
    threshold: float = 0.01,
) -> Comparison:
    """Compare two runs of one workload, trial against trial.

    Args:
        before: the run to compare with.
        after: the new run.
        metrics: which figures; ``e2e`` (its median), or ``ttft.p99`` for another statistic. None: the medians of ttft,
            tpot and e2e, and the throughput.
        alpha: how often two equal engines may be called different, over all figures together.
        threshold: changes by less than this share don't matter: 0.01 is 1%.

    Levels are matched by concurrency and arrival rate. The verdict needs at least four trials on each side.

    Raises InvalidParameterError where nothing can be compared.
    """
    if not 0 < alpha < 1:
        raise InvalidParameterError("alpha", alpha, "a number between 0 and 1, such as 0.05")
    if not threshold >= 0:
        raise InvalidParameterError("threshold", threshold, "a share, at least 0")
    pairs = _pairs(before, after)
    wanted = _wanted(metrics)
    figures: list[tuple[str, str, str, str, bool]] = []
    old: list[list[float]] = []
    new: list[list[float]] = []
    for left, right in pairs:
        for name, statistic, low in wanted:
            one, other = _trials(left, name, statistic), _trials(right, name, statistic)
            if one and other and min(*one, *other) > 0:
                figures.append((left.label, name, statistic, left.metrics[name].unit, low))
                old.append(one)
                new.append(other)
    if not figures:
        names = ", ".join(name for name, _, _ in wanted)
        raise InvalidParameterError("metrics", names, "figures that both runs have, other than 0")
    before_count, after_count = min(map(len, old)), min(map(len, new))
    old, new = [each[:before_count] for each in old], [each[:after_count] for each in new]
    rows = []
    for (label, name, statistic, unit, better_low), one, other, found in zip(
        figures, old, new, compare_trials(old, new, level=1 - alpha), strict=True
    ):
        change = found.ratio - 1
        certain = found.p_value <= alpha and abs(math.log(found.ratio)) > math.log1p(threshold)
        rows.append(
            Row(
                level=label,
                metric=name,
                statistic=statistic,
                unit=unit,
                before=_geometric(one),
                after=_geometric(other),
                change=change,
                low=None if found.low is None else found.low - 1,
                high=None if found.high is None else found.high - 1,
                p_value=found.p_value,
                worse=(change > 0) == better_low if certain else None,
            )
        )
    verdict, reasons = _verdict(before, after, pairs, rows, alpha, (before_count, after_count))
    return Comparison(verdict=verdict, reasons=reasons, rows=rows, alpha=alpha, threshold=threshold)


def _pairs(before: Results, after: Results) -> list[tuple[Level, Level]]:
    others = {(level.concurrency, level.arrival_rate): level for level in after.levels}
    pairs = []
    for level in before.levels:
        other = others.get((level.concurrency, level.arrival_rate))
        if other is not None:
            pairs.append((level, other))
    if not pairs:
        message = (
            f"The two runs have no level in common: {', '.join(level.label for level in before.levels)} and "
            f"{', '.join(level.label for level in after.levels)}."
        )
        raise InvalidParameterError("after", None, "a run with the same levels", message=message)
    return pairs


def _wanted(metrics: Sequence[str] | None) -> list[tuple[str, str, bool]]:
    """Name, statistic, and whether less is better."""
    if metrics is None:
        return [(name, each, True) for name, each in _BETTER_LOW.items()] + [
            (name, each, False) for name, each in _BETTER_HIGH.items() if name == "output_tokens_per_second"
        ]
    known = {**_BETTER_LOW, **_BETTER_HIGH, "time_between_chunks": "p50", "queueing": "p50"}
    found = []
    for given in metrics:
        name, _, statistic = given.partition(".")
        statistic = statistic or known.get(name, "")
        if name not in known or statistic not in ("mean", "p50", "p90", "p95", "p99"):
            raise InvalidParameterError("metrics", given, f"one of {', '.join(known)}, with .mean or .p50 ... after it")
        found.append((name, statistic, name not in _BETTER_HIGH))
    return found


def _trials(level: Level, name: str, statistic: str) -> list[float]:
    metric = level.metrics.get(name)
    return [] if metric is None else metric.trials.get(statistic, [])


def _geometric(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _verdict(
    before: Results,
    after: Results,
    pairs: Sequence[tuple[Level, Level]],
    rows: Sequence[Row],
    alpha: float,
    trials: tuple[int, int],
) -> tuple[Verdict, list[str]]:
    reasons = _differences(before, after)
    wrong = [
        f"{side}, {level.label}: {reason}"
        for pair in pairs
        for side, level in zip(("the first run", "the second run"), pair, strict=True)
        for reason in level.reasons
    ]
    if wrong:
        return "invalid", [*reasons, *wrong]
    for left, right in pairs:
        one, other = _rate(left), _rate(right)
        if other > one + _CERTAIN_FAILURES:
            return "failures", [*reasons, f"{right.label}: {other:.1%} of the requests failed, {one:.1%} before"]
    worse, better = [row for row in rows if row.worse is True], [row for row in rows if row.worse is False]
    if worse and better:
        return "mixed", reasons
    if worse:
        return "slower", reasons
    if better:
        return "faster", reasons
    least = least_p_value(*trials)
    if least > alpha:
        reasons.append(f"{trials[0]} and {trials[1]} trials can't show a difference at {alpha:g}: use --trials 5")
        return "too few trials", reasons
    return "no difference", reasons


def _rate(level: Level) -> float:
    metric = level.metrics.get("error_rate")
    return metric.mean if metric is not None and metric.mean is not None else 0.0


def _differences(before: Results, after: Results) -> list[str]:
    """What else differs between the runs."""
    found = []
    for what, one, other in (
        ("mode", before.mode, after.mode),
        ("arrival pattern", before.arrival_pattern, after.arrival_pattern),
        ("load", _comparable(before.load), _comparable(after.load)),
        ("sampling", before.settings.get("sampling"), after.settings.get("sampling")),
        ("requests in a trial", before.settings.get("runs"), after.settings.get("runs")),
        ("processor", before.environment.get("processor"), after.environment.get("processor")),
    ):
        if one != other:
            found.append(f"the runs differ in their {what}: {one} and {other}")
    return found


def _comparable(load: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in load.items() if name != "marked"}
