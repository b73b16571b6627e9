"""A picture of the results, by matplotlib (the extra ``png``)."""

from __future__ import annotations

from pathlib import Path

from llamaforge.errors import MissingDependencyError

from ..results import Results
from .series import distributions, load_axis, load_series


def draw(results: Results, path: Path) -> None:
    """Write a PNG: latency against load, and the distributions of the latencies. Raises MissingDependencyError."""
    try:
        import matplotlib as mpl

        mpl.use("Agg", force=False)
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError("a PNG", "matplotlib", "pip install matplotlib") from None
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    against, spread = figure.subplots(1, 2)
    for title, points in load_series(results):
        against.plot([x for x, _ in points], [y * 1e3 for _, y in points], marker="o", label=title)
    against.set_xlabel(load_axis(results))
    against.set_ylabel("ms")
    against.set_ylim(bottom=0)
    against.legend()
    for title, points in distributions(results):
        spread.plot([x * 1e3 for x, _ in points], [y * 100 for _, y in points], label=title)
    spread.set_xlabel("time to first token, ms")
    spread.set_ylabel("% of the requests")
    spread.legend()
    figure.suptitle(f"{results.target}, {results.mode}")
    figure.savefig(path, dpi=120)
