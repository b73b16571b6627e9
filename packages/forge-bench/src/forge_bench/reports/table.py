"""Tables for the terminal."""

from __future__ import annotations

from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..calibration.calibrate import CalibrationReport
from ..compare import Comparison
from ..metrics import STATISTICS, UNITS
from ..results import Level, Results
from .wording import TITLES, value, with_interval

_DETAILED: Final = 3
"""Levels whose figures are all shown; of more there is only the summary."""
_SHORT: Final = {
    "ttft": "TTFT",
    "tpot": "TPOT",
    "time_between_chunks": "between chunks",
    "e2e": "E2E",
    "queueing": "in the queue",
    "lateness": "sent late by",
    "output_tokens_per_second": "output tokens/s",
    "requests_per_second": "requests/s",
    "total_tokens_per_second": "all tokens/s",
    "goodput": "goodput/s",
    "slo_share": "within SLO",
    "cached_share": "from cache",
    "acceptance": "guesses accepted",
    "offered_rate": "arrivals/s",
    "mean_queueing": "in the queue, mean",
}
_LATENCIES: Final = ("ttft", "tpot", "time_between_chunks", "e2e", "queueing", "lateness")
_IF_ANY: Final = frozenset({"cached_tokens", "cached_share", "queueing"})
"""Shown only if they aren't nought."""
_COUNTS: Final = ("prompt_tokens", "output_tokens", "cached_tokens")
_RATES: Final = (
    "requests_per_second",
    "output_tokens_per_second",
    "total_tokens_per_second",
    "goodput",
    "slo_share",
    "error_rate",
    "cached_share",
    "acceptance",
    "mean_queueing",
    "offered_rate",
)


def show(results: Results, console: Console | None = None) -> None:
    """Print *results*."""
    (console or Console(highlight=False)).print(drawn(results))


def drawn(results: Results) -> Group:
    """All of *results*: a summary of the levels, each level's figures, what to know about them."""
    parts: list[Text | Table] = [Text(f"{results.target}, {results.mode}", style="bold")]
    name = results.load.get("name") or _load(results)
    settings = results.settings
    trials = settings.get("trials", 1)
    parts.append(Text(f"{name}; {settings.get('runs', '?')} requests in each of {trials} trial{'s'[: trials != 1]}"))
    if len(results.levels) > 1:
        parts.append(_summary(results))
    if len(results.levels) <= _DETAILED:
        parts += [_level(level, title=len(results.levels) > 1) for level in results.levels]
    if results.knee is not None and results.saturated is not False:
        parts.append(Text(f"Knee: {results.levels[results.knee].label}", style="bold"))
    elif results.saturated:
        parts.append(Text("Knee: below the first level, which is too much already", style="bold"))
    if results.saturated is False:
        parts.append(Text("No knee: the engine was not saturated at the highest load."))
    parts.extend(Text(f"Note: {note}") for note in results.notes)
    for level in results.levels:
        for reason in level.reasons:
            parts.append(Text(f"INVALID ({level.label}): {reason}", style="bold red"))
    if trials > 1:
        parts.append(
            Text(f"± is half the {results.confidence_level:.0%} confidence interval over trials.", style="dim")
        )
    return Group(*parts)


def _load(results: Results) -> str:
    load = results.load
    if load.get("kind") == "synthetic":
        return f"synthetic, {load['prompt_tokens']} -> {load['output_tokens']} tokens"
    return str(load.get("kind", ""))


def _summary(results: Results) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("load", no_wrap=True)
    columns = (
        ("TTFT\np50", "ttft", "p50"),
        ("TTFT\np99", "ttft", "p99"),
        ("TPOT\np50", "tpot", "p50"),
        ("E2E\np50", "e2e", "p50"),
        ("req/s", "requests_per_second", "mean"),
        ("tok/s", "output_tokens_per_second", "mean"),
        ("good/s", "goodput", "mean"),
        ("failed", "error_rate", "mean"),
    )
    present = [each for each in columns if any(each[1] in level.metrics for level in results.levels)]
    for head, name, _ in present:
        unit = "\nms" if UNITS[name] == "s" else ""
        table.add_column(f"{head}{unit}", justify="right", no_wrap=True)
    for place, level in enumerate(results.levels):
        cells = []
        for _, name, statistic in present:
            metric = level.metrics.get(name)
            text = "" if metric is None else value(getattr(metric, statistic), metric.unit)
            cells.append(text.removesuffix(" ms"))
        label = (
            level.label
            + (" (knee)" if place == results.knee and results.saturated is not False else "")
            + ("" if level.valid else " INVALID")
        )
        table.add_row(label, *cells)
    return table


def _level(level: Level, *, title: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=level.label if title else None, title_justify="left")
    table.add_column("", no_wrap=True)
    scheduled = any(trial.offered is not None for trial in level.trials) or level.arrival_rate is not None
    for statistic in STATISTICS:
        table.add_column(statistic, justify="right", no_wrap=True)
    for name in (*_LATENCIES, *_COUNTS):
        metric = level.metrics.get(name)
        if metric is None or (name in _IF_ANY and not metric.mean) or (name == "lateness" and not scheduled):
            continue
        head, cells = _SHORT.get(name, TITLES[name]), [with_interval(metric, "mean")]
        cells += [value(getattr(metric, statistic), metric.unit) for statistic in STATISTICS[1:]]
        if metric.unit == "s":
            head, cells = f"{head}, ms", [cell.replace(" ms", "") for cell in cells]
        table.add_row(head, *cells)
    table.add_section()
    for name in _RATES:
        metric = level.metrics.get(name)
        if metric is not None and not (name in _IF_ANY and not metric.mean):
            table.add_row(_SHORT.get(name, TITLES[name]), with_interval(metric, "mean"))
    return table


def show_comparison(found: Comparison, console: Console | None = None) -> None:
    """Print a comparison."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("load", "figure", "before", "after", "change", "interval", "p"):
        table.add_column(head, justify="left" if head in ("load", "figure") else "right")
    for row in found.rows:
        style = {True: "bold red", False: "bold green", None: ""}[row.worse]
        ends = "" if row.low is None or row.high is None else f"{row.low:+.1%} to {row.high:+.1%}"
        table.add_row(
            row.level,
            f"{_SHORT.get(row.metric, TITLES[row.metric])}, {row.statistic}",
            value(row.before, row.unit),
            value(row.after, row.unit),
            f"{row.change:+.1%}",
            ends,
            f"{row.p_value:.3f}",
            style=style,
        )
    parts: list[Text | Table] = [table, *[Text(f"Note: {reason}") for reason in found.reasons]]
    parts.append(Text(f"Verdict: {found.verdict}", style="bold"))
    (console or Console(highlight=False)).print(Group(*parts))


def show_calibration(report: CalibrationReport, console: Console | None = None) -> None:
    """Print what a calibration found."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("figure", "known", "measured", "allowed", ""):
        table.add_column(head, justify="right" if head in ("known", "measured", "allowed") else "left")
    for check in report.checks:
        figures = [value(each, check.unit) for each in (check.known, check.measured, check.allowed)]
        table.add_row(check.name, *figures, "ok" if check.passed else "OFF", style="" if check.passed else "bold red")
    delay = report.read_delay
    parts: list[Text | Table] = [
        table,
        Text(
            f"From the server's send to the client's note of a chunk: {delay['p50'] * 1e6:.0f} us in the median, "
            f"{delay['p99'] * 1e3:.2f} ms at the 99th percentile."
        ),
        *[Text(f"INVALID: {reason}", style="bold red") for reason in report.reasons],
    ]
    verdict = "can be trusted" if report.trustworthy else "can't be trusted at the moment"
    parts.append(Text(f"This machine's figures {verdict}.", style="bold"))
    (console or Console(highlight=False)).print(Group(*parts))
