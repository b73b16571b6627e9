"""When requests arrive: offsets in seconds from the beginning of a trial. Pure functions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, get_args

from llamaforge.errors import InvalidParameterError

Pattern = Literal["poisson", "gamma", "constant", "burst", "trace"]
"""``poisson``: independent arrivals, exponential gaps. ``gamma``: gaps of a gamma distribution, whose shape is
*burstiness* (1 is Poisson, less comes in bunches, more is more even). ``constant``: equal gaps. ``burst``: groups of
*burst_size* at once, at a constant rate of groups. ``trace``: the timestamps of the load itself."""
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)


def schedule(
    pattern: Pattern,
    rate: float | None,
    count: int,
    *,
    seed: int = 0,
    burstiness: float = 1.0,
    burst_size: int = 10,
    timestamps: Sequence[float] = (),
    time_scale: float = 1.0,
) -> list[float]:
    """The intended arrivals of *count* requests, in ascending order, at *rate* requests a second on average.

    Args:
        timestamps: for ``trace``: those of the load, in seconds, in any order.
        time_scale: for ``trace``: 2 stretches the trace to twice its length. With a *rate*, the trace is scaled so that
            its average is that rate, and *time_scale* has no effect.

    Raises InvalidParameterError.
    """
    if pattern not in PATTERNS:
        raise InvalidParameterError("arrival_pattern", pattern, f"one of {', '.join(PATTERNS)}")
    if pattern == "trace":
        return _trace(timestamps, rate, count, time_scale)
    if rate is None or not 0 < rate < float("inf"):
        raise InvalidParameterError("arrival_rate", rate, "requests a second, above 0")
    draw = random.Random(seed)  # noqa: S311 - a schedule that can be repeated
    if pattern == "constant":
        return [index / rate for index in range(count)]
    if pattern == "burst":
        if burst_size < 1:
            raise InvalidParameterError("burst_size", burst_size, "a whole number, at least 1")
        return [index // burst_size * burst_size / rate for index in range(count)]
    shape = 1.0 if pattern == "poisson" else burstiness
    if not 0 < shape < float("inf"):
        raise InvalidParameterError("burstiness", burstiness, "a number above 0")
    now, times = 0.0, []
    for _ in range(count):
        times.append(now)
        now += draw.gammavariate(shape, 1 / (shape * rate))
    return times


def _trace(timestamps: Sequence[float], rate: float | None, count: int, scale: float) -> list[float]:
    if len(timestamps) < count:
        expected = "a pattern other than 'trace', since the load has no timestamps"
        if timestamps:
            expected = f"at most {len(timestamps)} requests, since the trace has no more"
        raise InvalidParameterError("arrival_pattern", "trace", expected)
    if not 0 < scale < float("inf"):
        raise InvalidParameterError("time_scale", scale, "a number above 0")
    times = sorted(timestamps)[:count]
    offsets = [time - times[0] for time in times]
    if rate is not None:
        if not 0 < rate < float("inf"):
            raise InvalidParameterError("arrival_rate", rate, "requests a second, above 0")
        scale = (count - 1) / rate / offsets[-1] if offsets and offsets[-1] > 0 else 1.0
    return [offset * scale for offset in offsets]
