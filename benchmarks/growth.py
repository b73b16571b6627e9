"""How the figures grow: 1 to 64 callers, 100 to 4,000 tokens of context; drawn as PNG.

    hatch run bench:growth --json growth.json --images docs/images
    hatch run bench:growth --read growth.json --images docs/images
    hatch run bench:growth --engine transformers --read growth.json --json growth.json --images docs/images

Beside each engine stands its bare loop, which takes turns with it. The median of the rounds is kept, and written down
after every point.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measuring import ours, overhead
from measuring.load import Ask, asks, prose
from measuring.ours import Ours
from measuring.subprocesses import Apart

CALLERS = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = (100, 500, 1000, 2000, 4000)
ENGINES = ("llama.cpp", "transformers")
ANSWER = 32
FEWEST = 8
"""Requests of a point, at least."""
Points = dict[str, dict[str, list[float]]]
"""Engine -> series -> a figure for each point."""


class Growth:
    """Measures both kinds of growth.

    Args:
        threads: threads of each engine.
        rounds: how often each point is measured.
        most: callers, at most.
        longest: tokens of context, at most.
        note: takes all that was found, after every point.
    """

    def __init__(
        self, threads: int, rounds: int, most: int, longest: int, note: Callable[[dict[str, Any]], None]
    ) -> None:
        self._threads = threads
        self._rounds = rounds
        self.callers = [each for each in CALLERS if each <= most]
        self.contexts = [each for each in CONTEXTS if each <= longest]
        self._seed = itertools.count(1)
        self._note = note
        self._found: dict[str, Any] = {}

    def measure(self, engines: Sequence[str], before: dict[str, Any]) -> dict[str, Any]:
        """All that concerns *engines*, and core; the points of other engines are as *before*."""
        by_callers: Points = before.get("by_callers", {})
        by_context: Points = before.get("by_context", {})
        core = {
            kind: [overhead.microseconds(kind, count, max(200, 16_000 // count)) for count in self.callers]
            for kind in ("threads", "tasks")
        }
        self._found = {
            "callers": self.callers,
            "contexts": self.contexts,
            "by_callers": by_callers,
            "by_context": by_context,
            "core": core,
        }
        ways = {"llama.cpp": self._llama, "transformers": self._transformers}
        for name in engines:
            by_callers[name], by_context[name] = {}, {}
            with ways[name]() as (mine, make_bare):
                self._by_callers(mine, make_bare, by_callers[name])
                self._by_context(mine, make_bare, by_context[name])
        return self._found

    def _by_callers(self, mine: Apart, make_bare: Callable[[int], Apart], series: dict[str, list[float]]) -> None:
        """Tokens a second, all callers together; each asks one thing.

        Every point begins with the same requests, in as many waves as that takes.
        """
        series |= {"LlamaForge": [], "bare loop": []}
        for count in self.callers:
            with make_bare(count) as bare:
                rates: dict[str, list[float]] = {name: [] for name in series}
                for number in range(self._rounds):
                    load = asks(number, shortest=32, longest=64, after=1000 * next(self._seed))
                    waves = [list(itertools.islice(load, count)) for _ in range(max(1, FEWEST // count))]
                    sides = [
                        ("LlamaForge", [(mine, "at_once", wave, count) for wave in waves]),
                        ("bare loop", [(bare, "answer", mine.ask("prompts", wave)) for wave in waves]),
                    ]
                    for name, calls in sides if number % 2 == 0 else sides[::-1]:
                        done = [side.timed(*call) for side, *call in calls]
                        rates[name].append(sum(tokens for tokens, _ in done) / sum(seconds for _, seconds in done))
            self._keep(series, rates, f"{count} callers", "tokens/s")

    def _by_context(self, mine: Apart, make_bare: Callable[[int], Apart], series: dict[str, list[float]]) -> None:
        """Milliseconds until the first token, and for each one after it, behind a prompt of so many tokens."""
        names = ("LlamaForge, first token", "bare loop, first token", "LlamaForge, each token", "bare loop, each token")
        series |= {name: [] for name in names}
        with make_bare(1) as bare:
            for length in self.contexts:
                times: dict[str, list[float]] = {name: [] for name in names}
                for _ in range(self._rounds):
                    ask = Ask(f"{prose(length * 9 // 2, next(self._seed))}\n\nGo on, at length.", ANSWER)
                    first, each = mine.ask("streamed", ask)
                    times[names[0]].append(first)
                    times[names[2]].append(each)
                    first, each = bare.ask("streamed", mine.ask("prompts", [ask])[0])
                    times[names[1]].append(first)
                    times[names[3]].append(each)
                self._keep(series, times, f"{length} tokens", "ms")

    def _keep(self, series: dict[str, list[float]], found: dict[str, list[float]], point: str, unit: str) -> None:
        for name, each in found.items():
            series[name].append(statistics.median(each))
        shown = ", ".join(f"{name} {each[-1]:.1f} {unit}" for name, each in series.items())
        print(f"{point}: {shown}", flush=True)
        self._note(self._found)

    @contextmanager
    def _llama(self) -> Iterator[tuple[Apart, Callable[[int], Apart]]]:
        from measuring.llama_loops import BareLoop

        gguf, n_ctx = ours.gguf(), 24_576
        with Apart(Ours, "llama.cpp", gguf, self._threads, n_parallel=64, n_ctx=n_ctx) as mine:
            n_batch, _ = mine.ask("facts")
            yield mine, lambda width: Apart(BareLoop, gguf, width, self._threads, n_batch, n_ctx=n_ctx)

    @contextmanager
    def _transformers(self) -> Iterator[tuple[Apart, Callable[[int], Apart]]]:
        from measuring.torch_loops import ForwardLoop

        folder = ours.safetensors()
        with Apart(Ours, "huggingface", folder, self._threads, n_parallel=64) as mine:
            yield mine, lambda _: Apart(ForwardLoop, folder, self._threads)


def draw(found: dict[str, Any], folder: Path) -> None:
    """callers.png, context.png and core.png."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    styles = {"LlamaForge": "o-", "bare loop": "s--", "threads": "o-", "tasks": "s--"}

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, (name, series) in zip(axes, found["by_callers"].items(), strict=True):
        for label, values in series.items():
            axis.plot(found["callers"], values, styles[label], label=label)
        _label(axis, name, "callers", "tokens a second, all together", found["callers"], log=2)
        axis.set_ylim(bottom=0)
    _save(figure, folder / "callers.png")

    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    for column, (name, series) in enumerate(found["by_context"].items()):
        for row, (what, unit) in enumerate((("each token", "ms for each token"), ("first token", "ms to the first"))):
            for label in ("LlamaForge", "bare loop"):
                axes[row][column].plot(found["contexts"], series[f"{label}, {what}"], styles[label], label=label)
            _label(axes[row][column], name, "tokens of context", unit, found["contexts"])
            axes[row][column].set_ylim(bottom=0)
    _save(figure, folder / "context.png")

    figure, axis = plt.subplots(figsize=(4.6, 3.4), layout="constrained")
    for kind, values in found["core"].items():
        axis.plot(found["callers"], values, styles[kind], label=kind)
    _label(axis, "core", "callers", "µs of processor time a token", found["callers"], log=2)
    axis.set_ylim(bottom=0)
    _save(figure, folder / "core.png")


def _label(axis: Any, title: str, across: str, up: str, ticks: list[int], log: int = 0) -> None:
    if log:
        axis.set_xscale("log", base=log)
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.set(title=title, xlabel=across, ylabel=up)
    axis.grid(alpha=0.3)
    axis.legend()


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main() -> None:
    """Measure, or read what was measured; then draw."""
    from forge_llamacpp.threads import usable_cores

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=usable_cores(), help="threads of each engine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=CALLERS[-1], help="callers, at most")
    parser.add_argument("--longest", type=int, default=CONTEXTS[-1], help="tokens of context, at most")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--engine", choices=ENGINES, help="measure this one only")
    parser.add_argument(
        "--read", type=Path, metavar="FILE", help="take from there what is not measured; without --engine, that is all"
    )
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="draw them there")
    options = parser.parse_args()

    def note(found: dict[str, Any]) -> None:
        if options.json:
            options.json.write_text(json.dumps(found, indent=2) + "\n")

    found = json.loads(options.read.read_text()) if options.read else {}
    if options.engine or not options.read:
        growth = Growth(options.threads, options.rounds, options.most, options.longest, note)
        if found and (found["callers"], found["contexts"]) != (growth.callers, growth.contexts):
            parser.error(f"{options.read} has other callers or contexts: give its --most and --longest.")
        found = growth.measure([options.engine] if options.engine else ENGINES, found)
        note(found)
    if options.images:
        draw(found, options.images)


if __name__ == "__main__":
    main()
