"""A page with tables and plots that needs nothing from outside: no script, no font, no image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

import msgspec

from ..metrics import STATISTICS
from ..results import Level, Results
from .series import Points, distributions, load_axis, load_series, throughput_series
from .wording import TITLES, value, with_interval

_COLOURS: Final = ("#1f6fb2", "#d1622b", "#2f8f4e", "#8a4fbf", "#b23a48", "#5f6b73", "#b58900", "#148f8f")
_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 44
_TIMELINE: Final = 300
"""Requests that the timeline shows at most."""
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;color:#1b1f23;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
table{border-collapse:collapse;margin:.5rem 0;font-variant-numeric:tabular-nums}
td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #d8dee4}
td{white-space:nowrap}td:first-child,th:first-child{text-align:left}
.plots{display:flex;flex-wrap:wrap;gap:1.5rem}figure{margin:0}figcaption{font-weight:600}
.bad{color:#a40e26;font-weight:600}pre{background:#f6f8fa;padding:1rem;overflow:auto}
svg text{font:12px system-ui,sans-serif;fill:#1b1f23}
@media(prefers-color-scheme:dark){body{background:#14171a;color:#e6e8ea}td,th{border-color:#343a40}pre{background:#1d2125}
svg text{fill:#e6e8ea}.bad{color:#ff8a93}}
"""


def page(results: Results) -> str:
    """The whole page."""
    levels = results.levels
    figures = [
        _plot("Latency against load", load_series(results), load_axis(results), "ms", scale_y=1e3),
        _plot("Throughput against load", [("output", throughput_series(results))], load_axis(results), "tokens/s"),
        _plot("Time to first token", distributions(results), "ms", "% of requests", scale_x=1e3, scale_y=100),
    ]
    parts = [
        f"<h1>{escape(results.target)}, {escape(results.mode)}</h1>",
        *[
            f'<p class="bad">Not valid ({escape(level.label)}): {escape(reason)}</p>'
            for level in levels
            for reason in level.reasons
        ],
        *[f"<p>{escape(note)}</p>" for note in results.notes],
    ]
    if results.saturated is False:
        parts.append("<p>No knee: the engine was not saturated at the highest load.</p>")
    elif results.knee is not None:
        parts.append(f"<p>Knee: {escape(levels[results.knee].label)}</p>")
    parts.append(f'<div class="plots">{"".join(figures)}</div>')
    for level in levels:
        parts += [f"<h2>{escape(level.label)}</h2>", _table(level), _timeline(level)]
    shown = {
        "engine": results.engine,
        "load": results.load,
        "settings": results.settings,
        "slo": msgspec.to_builtins(results.slo),
        "environment": results.environment,
    }
    text = msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()
    parts.append(f"<h2>How it was measured</h2><pre>{escape(text)}</pre>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(results.target)}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _table(level: Level) -> str:
    heads = "".join(f"<th>{name}</th>" for name in ("", *STATISTICS))
    rows = []
    for name, metric in level.metrics.items():
        cells = [
            with_interval(metric, each) if each in metric.intervals else value(getattr(metric, each), metric.unit)
            for each in STATISTICS
        ]
        rows.append(
            f"<tr><td>{escape(TITLES.get(name, name))}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        )
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


def _ticks(high: float) -> list[float]:
    """Round numbers from 0 to *high*."""
    if not high > 0:
        return [0.0, 1.0]
    step = 10 ** math.floor(math.log10(high / 4))
    step *= next(times for times in (1, 2, 5, 10) if high / (step * times) <= 5)
    return [step * index for index in range(math.ceil(high / step) + 1)]


def _plot(
    title: str,
    series: Sequence[tuple[str, Points]],
    across: str,
    upwards: str,
    *,
    scale_x: float = 1.0,
    scale_y: float = 1.0,
) -> str:
    """Lines through points, as SVG. Empty without points."""
    drawn = [(name, [(x * scale_x, y * scale_y) for x, y in points]) for name, points in series if points]
    if not drawn:
        return ""
    right = _ticks(max(x for _, points in drawn for x, _ in points))
    high = _ticks(max(y for _, points in drawn for _, y in points))
    if upwards.startswith("%"):
        high = [0, 25, 50, 75, 100]
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + wide * x / right[-1], _TOP + tall * (1 - y / high[-1])

    parts = []
    for tick in high:
        _, y = place(0, tick)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8884"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in right:
        x, _ = place(tick, 0)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<text x="{_LEFT + wide / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>')
    middle = _TOP + tall / 2
    parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(upwards)}</text>')
    legend = []
    for number, (name, points) in enumerate(drawn):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [place(x, y) for x, y in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(places) <= 40:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        legend.append(f'<span style="color:{colour}">&#9632;</span> {escape(name)}')
    svg = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img">{"".join(parts)}</svg>'
    return f"<figure><figcaption>{escape(title)}</figcaption>{svg}<div>{' &nbsp; '.join(legend)}</div></figure>"


def _timeline(level: Level) -> str:
    """The requests of the first trial: waiting, then answering."""
    records = level.trials[0].records[:_TIMELINE] if level.trials else []
    ends = [record.end for record in records if record.end is not None]
    if not ends:
        return ""
    row = max(2.0, min(10.0, 400 / len(records)))
    ticks = _ticks(max(ends))
    width, height = 1100, row * len(records) + 40

    def across(time: float) -> float:
        return 20 + (width - 40) * max(0.0, time) / ticks[-1]

    parts = []
    for number, record in enumerate(records):
        y = 6 + row * number
        end = record.end if record.end is not None else record.intended
        first = record.chunk_times[0] if record.chunk_times else end
        for begin, until, colour in ((record.intended, first, "#c9ced3"), (first, end, _COLOURS[0])):
            colour = "#b23a48" if record.error is not None else colour
            parts.append(
                f'<rect x="{across(begin):.1f}" y="{y:.1f}" width="{max(0.5, across(until) - across(begin)):.1f}" '
                f'height="{row * 0.8:.1f}" fill="{colour}"/>'
            )
    parts += [f'<text x="{across(tick):.1f}" y="{height - 8}" text-anchor="middle">{tick:g} s</text>' for tick in ticks]
    svg = f'<svg viewBox="0 0 {width} {height}" width="100%" role="img">{"".join(parts)}</svg>'
    title = "First trial: from the intended arrival to the first token (grey) and to the end (blue); failures red"
    return f"<figure><figcaption>{title}</figcaption>{svg}</figure>"
