"""Rows for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io

import msgspec

from ..metrics import STATISTICS
from ..records import Record
from ..results import Results

_RECORD = tuple(
    name
    for name in Record.__struct_fields__
    if name not in ("chunk_times", "server_times", "characters", "first_characters")
)


def metrics(results: Results) -> str:
    """A row for each metric of each level."""
    out = io.StringIO()
    writer = csv.writer(out)
    heads = [head for name in STATISTICS for head in (name, f"{name}_low", f"{name}_high")]
    writer.writerow(["level", "concurrency", "arrival_rate", "valid", "metric", "unit", "count", *heads])
    for level in results.levels:
        for name, metric in level.metrics.items():
            cells: list[object] = []
            for statistic in STATISTICS:
                cells += [getattr(metric, statistic), *(metric.intervals.get(statistic) or (None, None))]
            place = [level.label, level.concurrency, level.arrival_rate, level.valid]
            writer.writerow([*place, name, metric.unit, metric.count, *cells])
    return out.getvalue()


def requests(results: Results) -> str:
    """A row for each request."""
    out = io.StringIO()
    writer = csv.writer(out)
    computed = ("ttft", "tpot", "e2e", "lateness")
    writer.writerow(["level", "trial", *_RECORD, "chunks", *computed])
    for level in results.levels:
        for number, trial in enumerate(level.trials):
            for record in trial.records:
                given = msgspec.structs.asdict(record)
                cells = [getattr(record, name) for name in computed]
                writer.writerow(
                    [level.label, number, *(given[name] for name in _RECORD), len(record.chunk_times), *cells]
                )
    return out.getvalue()
