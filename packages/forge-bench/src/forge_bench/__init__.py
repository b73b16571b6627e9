"""``llamaforge bench``: measures engines under load, in the process or over HTTP, under one definition.

::

    from forge_bench import Benchmark, Synthetic

    results = await Benchmark(
        backend="http://127.0.0.1:8000",
        dataset=Synthetic(prompt_tokens=256, output_tokens=64),
        mode="serve",
        arrival_rate=[1, 2, 4],
    ).run()
    results.print()
    results.save("results.html")
"""

from __future__ import annotations

from ._version import __version__
from .benchmark import Benchmark
from .compare import Comparison, compare
from .loads import Lengths, Load, Prompts, Synthetic, Trace, TraceEntry, read_dataset
from .metrics import SLO, Metric
from .results import Level, Results

__all__ = [
    "SLO",
    "Benchmark",
    "Comparison",
    "Lengths",
    "Level",
    "Load",
    "Metric",
    "Prompts",
    "Results",
    "Synthetic",
    "Trace",
    "TraceEntry",
    "__version__",
    "compare",
    "read_dataset",
]
