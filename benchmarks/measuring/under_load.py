"""The load of :mod:`.load` through forge-bench: for engines in this process and for servers alike."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from forge_bench import Benchmark, Results
from forge_bench.driver import Item
from forge_bench.loads import Wording
from forge_bench.records import Call, Trial

from .load import Ask


class Asks:
    """Given requests, in their order: those of each trial. Warming up begins with those of the last one."""

    needs_wording = False

    def __init__(self, trials: Sequence[Sequence[Ask]]) -> None:
        self._trials = trials
        self.name = "questions and tasks"
        self.size = len(trials[0])

    def draw(self, count: int, *, seed: int, salt: str, wording: Wording, fresh: bool) -> list[Item]:
        """The requests of the trial, whose number is in *seed*."""
        asks = self._trials[-1] if fresh else self._trials[seed % 1000]
        return [Item(call=Call(prompt=ask.prompt, max_tokens=ask.max_tokens)) for ask in asks[:count]]

    def describe(self) -> dict[str, Any]:
        """For the report."""
        return {"name": self.name}


def benchmark(
    target: object, trials: Sequence[Sequence[Ask]], callers: int, *, raw: bool = False, **more: Any
) -> Benchmark:
    """A benchmark of *target* whose trials send the given requests, *callers* at once; as they come, where *more* has
    an ``arrival_rate``.

    Args:
        target: what :class:`forge_bench.Benchmark` takes.
        trials: the requests of each trial, and one list more for warming up.
        callers: how many are under way at once, at most.
        raw: whether prompts are texts with the chat template's tokens.
        more: further arguments of the benchmark.
    """
    return Benchmark(
        target,
        dataset=Asks(trials),
        mode="serve" if "arrival_rate" in more else "throughput",
        concurrency=callers,
        trials=len(trials) - 1,
        sampling={"temperature": 0, "raw": raw},
        **more,
    )


def rates(results: Results, *, counts_end: bool = False) -> list[float]:
    """Tokens of the answers a second, in each trial. Raises RuntimeError for requests that failed.

    *counts_end*: whether the engine counts the token that ends an answer, which is left out here.
    """
    (level,) = results.levels
    return [_rate(trial, counts_end) for trial in level.trials]


def rate(target: object, asks: Sequence[Ask], callers: int, *, counts_end: bool = False, **more: Any) -> float:
    """:func:`rates` of one trial, without warming up."""
    results = asyncio.run(benchmark(target, [asks, ()], callers, warmup=0, **more).run())
    return rates(results, counts_end=counts_end)[0]


def _rate(trial: Trial, counts_end: bool) -> float:
    failed = [record.error for record in trial.records if not record.succeeded]
    if failed:
        raise RuntimeError(f"{len(failed)} requests failed. The first one: {failed[0]}")
    tokens = sum(
        (record.completion_tokens or 0) - (counts_end and record.finish_reason == "stop") for record in trial.records
    )
    return tokens / trial.duration
