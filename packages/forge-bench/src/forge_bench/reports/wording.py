"""Figures in words: units, intervals, names."""

from __future__ import annotations

from typing import Final

from ..metrics import Metric

TITLES: Final = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "time_between_chunks": "time between chunks",
    "e2e": "end to end",
    "lateness": "lateness of sends",
    "queueing": "in the engine's queue",
    "prompt_tokens": "prompt tokens",
    "output_tokens": "output tokens",
    "cached_tokens": "cached tokens",
    "chunks": "chunks",
    "requests_per_second": "requests a second",
    "output_tokens_per_second": "output tokens a second",
    "total_tokens_per_second": "tokens a second",
    "error_rate": "failed",
    "goodput": "goodput, requests a second",
    "slo_share": "within the objectives",
    "offered_rate": "arrivals a second",
    "cached_share": "prompt tokens from cache",
    "acceptance": "guesses that came true",
    "concurrency": "requests under way",
    "mean_queueing": "in the server's queue, mean",
}
"""Every metric's name for people."""


def value(number: float | None, unit: str) -> str:
    """*number* with a unit that fits."""
    if number is None:
        return ""
    if unit == "s":
        milliseconds = number * 1e3
        digits = 2 if abs(milliseconds) < 10 else 1 if abs(milliseconds) < 1000 else 0
        return f"{milliseconds:,.{digits}f} ms"
    if unit == "share":
        return f"{number:.1%}"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}" if abs(number) < 100 else f"{number:.1f}"


def with_interval(metric: Metric, statistic: str) -> str:
    """A statistic with half the width of its interval, where there is one."""
    text = value(getattr(metric, statistic), metric.unit)
    ends = metric.intervals.get(statistic)
    if ends is None or not text:
        return text
    return f"{text} ± {value((ends[1] - ends[0]) / 2, metric.unit)}"
