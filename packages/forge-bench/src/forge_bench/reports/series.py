"""What the plots show, as points."""

from __future__ import annotations

from ..results import Results
from ..statistics import percentile

Points = list[tuple[float, float]]


def load_axis(results: Results) -> str:
    """What the load is called."""
    return "arrivals a second" if any(level.arrival_rate for level in results.levels) else "requests at once"


def load_series(results: Results) -> list[tuple[str, Points]]:
    """Latencies in seconds against the load."""
    found = []
    for title, name, statistic in (
        ("TTFT p50", "ttft", "p50"),
        ("TTFT p99", "ttft", "p99"),
        ("TPOT p50", "tpot", "p50"),
        ("E2E p50", "e2e", "p50"),
    ):
        points = []
        for place, level in enumerate(results.levels):
            metric = level.metrics.get(name)
            number = getattr(metric, statistic, None)
            if number is not None:
                points.append((float(level.arrival_rate or level.concurrency or place), number))
        if points:
            found.append((title, points))
    return found


def throughput_series(results: Results) -> Points:
    """Output tokens a second against the load."""
    points = []
    for place, level in enumerate(results.levels):
        metric = level.metrics.get("output_tokens_per_second") or level.metrics.get("requests_per_second")
        if metric is not None and metric.mean is not None:
            points.append((float(level.arrival_rate or level.concurrency or place), metric.mean))
    return points


def distributions(results: Results) -> list[tuple[str, Points]]:
    """For each level: seconds against the share of the requests that had their first token by then."""
    found = []
    for level in results.levels:
        values = sorted(
            record.ttft
            for trial in level.trials
            for record in trial.records
            if record.succeeded and record.ttft is not None
        )
        if values:
            steps = min(200, len(values) * 4)
            points = [(percentile(values, 100 * step / steps), step / steps) for step in range(steps + 1)]
            found.append((level.label, points))
    return found
