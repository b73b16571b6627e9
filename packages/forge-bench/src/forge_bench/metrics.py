"""The figures of trials, under one definition for every engine.

Latencies are seconds from the *intended* arrival of a request, of the requests that succeeded; rates are of the whole
trial, and a request that failed counts as asked for and not as answered. Tokens are the engine's own counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from llamaforge.errors import InvalidParameterError, UnknownParameterError

from .records import Record, Trial
from .statistics import interval, summary


class SLO(msgspec.Struct, frozen=True, kw_only=True):
    """What a good answer has to keep: seconds, at most. None: no limit."""

    ttft: float | None = None
    """Time to the first token."""
    tpot: float | None = None
    """Time per output token. An answer in one chunk has none, and keeps it."""
    e2e: float | None = None
    """Time to the end."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise InvalidParameterError(f"slo.{name}", limit, "seconds, above 0")

    @classmethod
    def read(cls, value: SLO | Mapping[str, float] | None) -> SLO | None:
        """Read a mapping. Raises UnknownParameterError or InvalidParameterError."""
        if value is None or isinstance(value, SLO):
            return value
        if not isinstance(value, Mapping):
            raise InvalidParameterError("slo", value, "a mapping from ttft, tpot or e2e to seconds")
        for name, limit in value.items():
            if name not in cls.__struct_fields__:
                raise UnknownParameterError(name, cls.__struct_fields__, where="service level objective")
            if not isinstance(limit, int | float) or isinstance(limit, bool):
                raise InvalidParameterError(f"slo.{name}", limit, "seconds, above 0")
        return cls(**value)

    def kept(self, record: Record) -> bool:
        """Whether *record* keeps it. A failure never does."""
        if not record.succeeded:
            return False
        for name in self.__struct_fields__:
            limit, value = getattr(self, name), getattr(record, name)
            if limit is None:
                continue
            if value is None:
                if name == "tpot":
                    continue
                return False
            if value > limit:
                return False
        return True


class Metric(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One figure: its distribution, and how sure it is."""

    unit: str
    """``s``, ``tokens``, ``1/s`` or ``share``."""
    count: int
    """Values behind it: requests, gaps between chunks, or trials."""
    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    intervals: dict[str, tuple[float, float]] = {}
    """Confidence interval over the trials of each statistic, by its name. Empty for one trial."""
    trials: dict[str, list[float]] = {}
    """The statistic of each trial, by its name."""


STATISTICS: Final = ("mean", "p50", "p90", "p95", "p99")

_OF_REQUESTS: Final[dict[str, tuple[str, Callable[[Record], float | None]]]] = {
    "ttft": ("s", lambda record: record.ttft),
    "tpot": ("s", lambda record: record.tpot),
    "e2e": ("s", lambda record: record.e2e),
    "lateness": ("s", lambda record: record.lateness),
    "queueing": ("s", lambda record: record.queued),
    "prompt_tokens": ("tokens", lambda record: record.prompt_tokens),
    "output_tokens": ("tokens", lambda record: record.completion_tokens),
    "cached_tokens": ("tokens", lambda record: record.cached_tokens),
    "chunks": ("chunks", lambda record: len(record.chunk_times) or None),
}
"""Of each request that succeeded; lateness of each that was sent."""

RATES: Final = {
    "requests_per_second": "1/s",
    "output_tokens_per_second": "tokens/s",
    "total_tokens_per_second": "tokens/s",
    "error_rate": "share",
    "goodput": "1/s",
    "slo_share": "share",
    "offered_rate": "1/s",
    "cached_share": "share",
    "acceptance": "share",
    "concurrency": "requests",
    "mean_queueing": "s",
}
"""Of each trial."""

UNITS: Final = {name: unit for name, (unit, _) in _OF_REQUESTS.items()} | {"time_between_chunks": "s"} | RATES
"""Every metric's unit."""


def latencies(records: Sequence[Record]) -> dict[str, list[float]]:
    """The values of each metric of requests. Empty lists where the engine says nothing."""
    found: dict[str, list[float]] = {}
    for name, (_, value_of) in _OF_REQUESTS.items():
        chosen = records if name == "lateness" else [record for record in records if record.succeeded]
        found[name] = [float(value) for value in map(value_of, chosen) if value is not None]
    found["time_between_chunks"] = [gap for record in records if record.succeeded for gap in record.gaps]
    return found


def rates(trial: Trial, slo: SLO | None) -> dict[str, float]:
    """The figures of a whole trial."""
    records, span = trial.records, max(trial.duration, 1e-9)
    good = [record for record in records if record.succeeded]
    found = {
        "requests_per_second": len(good) / span,
        "error_rate": 1 - len(good) / len(records) if records else 0.0,
        "concurrency": sum(record.end - (record.sent or 0.0) for record in good if record.end is not None) / span,
    }
    if trial.offered is not None:
        found["offered_rate"] = trial.offered
    counted = [record for record in good if record.completion_tokens is not None]
    if good and len(counted) == len(good):
        answered = sum(record.completion_tokens or 0 for record in counted)
        found["output_tokens_per_second"] = answered / span
        read = sum(record.prompt_tokens or 0 for record in counted)
        found["total_tokens_per_second"] = (answered + read) / span
        cached = [record.cached_tokens for record in counted if record.cached_tokens is not None]
        if cached and read:
            found["cached_share"] = sum(cached) / read
    drafted = sum(record.drafted or 0 for record in good)
    counted_by_server = trial.counters
    if drafted:
        found["acceptance"] = sum(record.accepted or 0 for record in good) / drafted
    elif counted_by_server.get("drafted_tokens"):
        found["acceptance"] = counted_by_server.get("accepted_tokens", 0.0) / counted_by_server["drafted_tokens"]
    if not found.get("cached_share") and counted_by_server.get("cache_queries"):
        found["cached_share"] = counted_by_server.get("cache_hits", 0.0) / counted_by_server["cache_queries"]
    if counted_by_server.get("queue_requests"):
        found["mean_queueing"] = counted_by_server.get("queue_seconds", 0.0) / counted_by_server["queue_requests"]
    if slo is not None:
        kept = sum(slo.kept(record) for record in records)
        found["goodput"] = kept / span
        found["slo_share"] = kept / len(records) if records else 0.0
    return found


def summarize(trials: Sequence[Trial], *, slo: SLO | None = None, level: float = 0.95) -> dict[str, Metric]:
    """All metrics of some trials of one level, by name. What no engine told is left out."""
    found: dict[str, Metric] = {}
    of_each = [latencies(trial.records) for trial in trials]
    for name in (*_OF_REQUESTS, "time_between_chunks"):
        values = [value for one in of_each for value in one[name]]
        if values:
            by_trial = [summary(one[name]) for one in of_each if one[name]]
            found[name] = _metric(UNITS[name], len(values), summary(values), by_trial, level)
    of_trials = [rates(trial, slo) for trial in trials]
    for name, unit in RATES.items():
        values = [one[name] for one in of_trials if name in one]
        if values:
            whole = summary(values)
            metric = _metric(unit, len(values), whole, [], level)
            metric.trials = {"mean": values}
            between = interval(values, level)
            metric.intervals = {"mean": between} if between is not None else {}
            found[name] = metric
    return found


def _metric(unit: str, count: int, whole: dict[str, float], by_trial: list[dict[str, float]], level: float) -> Metric:
    metric = Metric(unit=unit, count=count)
    for name, value in whole.items():
        setattr(metric, name, value)
    for name in STATISTICS:
        values = [each[name] for each in by_trial if name in each]
        if values:
            metric.trials[name] = values
            between = interval(values, level)
            if between is not None:
                metric.intervals[name] = between
    return metric


def plain(metric: Metric) -> dict[str, Any]:
    """For JSON: every statistic under its name."""
    built: dict[str, Any] = msgspec.to_builtins(metric)
    return {"unit": metric.unit, "count": metric.count} | {name: getattr(metric, name) for name in STATISTICS} | built
