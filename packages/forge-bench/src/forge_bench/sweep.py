"""Raises the load until the engine is saturated, and finds the knee."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llamaforge.errors import InvalidParameterError

from .loop import in_own_thread
from .results import Level, Results
from .session import Session, Setting

_ATTAINED = 0.95
"""An engine keeps up with an arrival rate if it completes this share of it."""
_KEPT = 0.95
"""Share of the requests that have to keep the objectives."""
_GAIN = 0.05
"""With more requests at once, an engine is saturated when the throughput grows by less than this share."""
_SLOWER = 10.0
"""Median time to the first token, compared with the first level, above which requests only wait in a queue."""
_MOST = 10_000


def saturated(levels: Sequence[Level]) -> bool:
    """Whether the last of *levels*, with rising load, was more than the engine can take."""
    if not levels:
        return False
    last = levels[-1]
    if _share(last, "slo_share", 1.0) < _KEPT or _share(last, "error_rate", 0.0) > 1 - _KEPT:
        return True
    first_token, at_first = _median(last), _median(levels[0])
    if last.arrival_rate is not None:
        completed = _share(last, "requests_per_second", 0.0)
        behind = completed < _ATTAINED * expected_rate(last)
        queueing = first_token is not None and at_first is not None and first_token > _SLOWER * at_first
        return behind or (queueing and len(levels) > 1)
    if len(levels) < 2:
        return False
    now, before = _throughput(last), _throughput(levels[-2])
    return now < before * (1 + _GAIN)


def expected_rate(level: Level) -> float:
    """Requests a second that an engine completes which keeps up: a trial ends with its last answer, not with the last
    arrival, so a short trial can't reach the rate of the arrivals."""
    rate = level.arrival_rate or 0.0
    metric = level.metrics.get("e2e")
    if not level.trials or metric is None or not rate:
        return rate
    found = []
    for trial in level.trials:
        count = len(trial.records)
        last = max((record.intended for record in trial.records), default=0.0)
        begun = min((record.intended for record in trial.records), default=0.0)
        best = min((record.e2e for record in trial.records if record.succeeded and record.e2e is not None), default=0.0)
        span = last - begun + best
        found.append(count / span if span > 0 else rate)
    return sum(found) / len(found)


def knee(levels: Sequence[Level]) -> int | None:
    """The index of the last level, in order of rising load, before saturation. None: the first one is too much."""
    good = None
    for index in range(len(levels)):
        if saturated(levels[: index + 1]):
            break
        good = index
    return good


async def sweep(session: Session, *, factor: float, most: float | None) -> Results:
    """Measure rising loads from the session's setting on, and one between the last good and the first bad one."""
    if not 1 < factor <= 100:
        raise InvalidParameterError("factor", factor, "a number above 1, at most 100")
    return await in_own_thread(lambda: _sweep(session, factor, most or _MOST))


async def _sweep(session: Session, factor: float, most: float) -> Results:
    (setting,) = session.settings
    levels: list[Level] = []
    session.fills = True  # nobody can say beforehand how far it will rise
    async with session.ready():
        await session.warm_up(setting)
        while True:
            levels.append(await session.measure(setting, len(levels)))
            if full := saturated(levels):
                break
            higher = _raised(setting, factor)
            if (higher.arrival_rate or higher.concurrency or 0) > most or _client_is_at_its_limit(levels):
                break
            setting = higher
        if full and len(levels) > 1 and levels[-1].arrival_rate is not None:
            between = (levels[-2].arrival_rate or 0) * factor**0.5
            level = await session.measure(Setting(concurrency=setting.concurrency, arrival_rate=between), len(levels))
            levels.insert(-1, level)
        results = session.results(levels)
    results.knee, results.saturated = knee(levels), full
    if not full and _client_is_at_its_limit(levels):
        results.notes.append("The sweep ended because the client, not the engine, was at its limit.")
    return results


def _client_is_at_its_limit(levels: Sequence[Level]) -> bool:
    """Two invalid levels in a row: one may be a hiccup of the machine."""
    return len(levels) > 1 and not levels[-1].valid and not levels[-2].valid


def _raised(setting: Setting, factor: float) -> Setting:
    if setting.arrival_rate is not None:
        return msgspec.structs.replace(setting, arrival_rate=setting.arrival_rate * factor)
    places = setting.concurrency or 1
    return msgspec.structs.replace(setting, concurrency=max(places + 1, round(places * factor)))


def _share(level: Level, name: str, default: float) -> float:
    metric = level.metrics.get(name)
    return default if metric is None or metric.mean is None else metric.mean


def _median(level: Level) -> float | None:
    metric = level.metrics.get("ttft")
    return None if metric is None else metric.p50


def _throughput(level: Level) -> float:
    return _share(level, "output_tokens_per_second", _share(level, "requests_per_second", 0.0))
