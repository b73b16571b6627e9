"""Many callers, one model: LlamaForge beside llama.cpp, llama-cpp-python and transformers, as ratios from one run.

    hatch run bench:throughput
    hatch run bench:throughput --quick --case llama-bare --json figures.json

Both sides of each comparison answer the same requests, greedily, each in a process of its own, and take turns; the
ratio is the median of the rounds' ratios. The model is SmolLM2-135M-Instruct: Q4_1 for llama.cpp, bfloat16 for
transformers; it is fetched by itself.
Close everything else first: llama.cpp's threads wait for each other, and one that is held up holds up all.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measuring import ours, overhead
from measuring.load import Ask, asks
from measuring.ours import Ours
from measuring.subprocesses import CLOCKS, Apart
from measuring.work import Row, compare, table

PEERS = ("forge-core", "forge-llamacpp", "forge-hf", "llama-cpp-python", "xllamacpp", "transformers", "torch")
PARALLEL = 16
CONTEXT = 1024
"""Tokens of each slot of the C++ server, which gives each its own part of the cache."""


@dataclass
class Bench:
    """What all cases share."""

    quick: bool
    threads: int
    rounds: int | None
    clock: str
    instruction_sets: dict[str, str]

    def rounds_of(self, usual: int) -> int:
        """How many rounds a case has."""
        return self.rounds or (1 if self.quick else usual)

    def requests(self, seed: int, number: int, count: int) -> list[Ask]:
        """The requests of round *number* of the case with that *seed*."""
        if self.quick:
            return list(itertools.islice(asks(100 * seed + number, longest=32, shortest=16, texts=False), count))
        return list(itertools.islice(asks(100 * seed + number), count))

    @contextmanager
    def llama(self) -> Iterator[tuple[Apart, int]]:
        """A llama.cpp backend, warm, and its ``n_batch``."""
        with Apart(Ours, "llama.cpp", self.gguf, self.threads, n_parallel=PARALLEL) as mine:
            n_batch, self.instruction_sets["llama-cpp-python (LlamaForge and the bare loops)"] = mine.ask("facts")
            yield mine, n_batch

    @contextmanager
    def transformers(self) -> Iterator[Apart]:
        """A transformers backend, warm."""
        with Apart(Ours, "huggingface", self.safetensors, self.threads, n_parallel=PARALLEL) as mine:
            self.instruction_sets["torch"] = mine.ask("facts")[1]
            yield mine

    @cached_property
    def gguf(self) -> Path:
        """The model for llama.cpp."""
        return ours.gguf()

    @cached_property
    def safetensors(self) -> Path:
        """The model for transformers."""
        return ours.safetensors()


def llama_one(bench: Bench) -> Iterator[Row]:
    """One caller, beside ``Llama`` and beside the bare loop."""
    from measuring.llama_loops import BareLoop, OneByOne

    with bench.llama() as (mine, n_batch):
        with Apart(OneByOne, bench.gguf, bench.threads) as peer:
            yield in_turn(
                bench, mine, peer, Row("llama.cpp, 1 caller", "Llama(..., stream=True)", "tokens/s", 1.10), 1, 24
            )
        with Apart(BareLoop, bench.gguf, 1, bench.threads, n_batch) as peer:
            yield in_turn(
                bench, mine, peer, Row("llama.cpp, 1 caller", "bare loop, 1 sequence", "tokens/s", 0.97), 2, 24
            )


def llama_bare(bench: Bench) -> Iterator[Row]:
    """8 and 16 callers beside the bare batch loop of the same width."""
    from measuring.llama_loops import BareLoop

    with bench.llama() as (mine, n_batch):
        for seed, width in ((3, 8), (4, 16)):
            with Apart(BareLoop, bench.gguf, width, bench.threads, n_batch) as peer:
                row = Row(f"llama.cpp, {width} callers", f"bare batch loop, {width} sequences", "tokens/s", 0.95)
                yield at_once(bench, mine, peer, row, seed, callers=width, count=width)


def llama_sequential(bench: Bench) -> Iterator[Row]:
    """8 callers beside the same 8 requests through ``Llama``, one after another; and the bare loop beside it, which is
    as far as batching goes."""
    from measuring.llama_loops import BareLoop, OneByOne

    with bench.llama() as (mine, n_batch), Apart(OneByOne, bench.gguf, bench.threads) as peer:
        row = Row("llama.cpp, 8 callers", "Llama, one after another", "tokens/s", 1.70)
        yield at_once(bench, mine, peer, row, 5, callers=8, count=8)
        with Apart(BareLoop, bench.gguf, 8, bench.threads, n_batch) as bare:
            row = Row("(bare batch loop, 8 sequences)", "Llama, one after another", "tokens/s", None)
            yield peers(bench, mine, bare, peer, row, 5, count=8)


def llama_server(bench: Bench) -> Iterator[Row]:
    """8 callers beside llama.cpp's C++ server with 8 slots; requests come spread over some seconds. And the bare loop
    beside it, with all requests at once: with LlamaForge's settings, then with the server's. forge-bench measures both
    LlamaForge and the server."""
    from measuring import under_load
    from measuring.cpp_server import CppServer
    from measuring.llama_loops import BareLoop

    with bench.llama() as (mine, n_batch), closing(CppServer(bench.gguf, 8, CONTEXT, bench.threads)) as peer:
        bench.instruction_sets["xllamacpp"] = peer.instruction_sets
        row = Row("llama.cpp, 8 callers", "C++ server, 8 slots", "tokens/s", 1.00)

        def requests(number: int) -> list[Ask]:
            return bench.requests(6, number, 16)

        a_second = 32.0 if bench.quick else 4.0

        def theirs(asked: list[Ask], **more: Any) -> float:
            texts = mine.ask("texts", asked)
            return under_load.rate(peer.address, texts, 8, counts_end=True, raw=True, model="m", **more)

        yield compare(
            row,
            lambda number: mine.ask("under_load", requests(number), 8, a_second, number),
            lambda number: theirs(requests(number), arrival_rate=a_second, seed=number),
            bench.rounds_of(7),
        )
        for name, size, unified in (("bare batch loop", n_batch, True), ("bare loop, server's settings", 512, False)):
            with Apart(BareLoop, bench.gguf, 8, bench.threads, size, unified=unified) as bare:
                yield compare(
                    Row(f"({name})", "C++ server, 8 slots", "tokens/s", None),
                    lambda number: answer(bench, mine, bare, requests(number)),
                    lambda number: theirs(requests(number)),
                    bench.rounds_of(5),
                )


def hf_one(bench: Bench) -> Iterator[Row]:
    """One caller beside ``model.generate``."""
    from measuring.torch_loops import Generate

    with bench.transformers() as mine, Apart(Generate, bench.safetensors, bench.threads) as peer:
        row = Row("transformers, 1 caller", "model.generate", "tokens/s", 1.00)
        yield in_turn(bench, mine, peer, row, 7, 12)


def hf_bare(bench: Bench) -> Iterator[Row]:
    """8 and 16 callers beside a bare forward loop of the same width."""
    from measuring.torch_loops import ForwardLoop

    with bench.transformers() as mine, Apart(ForwardLoop, bench.safetensors, bench.threads) as peer:
        for seed, width in ((8, 8), (9, 16)):
            row = Row(f"transformers, {width} callers", f"bare forward loop, {width} rows", "tokens/s", 0.90)
            yield at_once(bench, mine, peer, row, seed, callers=width, count=width)


def hf_batch(bench: Bench) -> Iterator[Row]:
    """16 callers beside transformers' own continuous batching; and the bare loop beside it."""
    from measuring.torch_loops import ContinuousBatching, ForwardLoop

    with bench.transformers() as mine, Apart(ContinuousBatching, bench.safetensors, bench.threads) as peer:
        row = Row("transformers, 16 callers", "its continuous batching", "tokens/s", 1.60)
        yield at_once(bench, mine, peer, row, 10, callers=16, count=16)
        with Apart(ForwardLoop, bench.safetensors, bench.threads) as bare:
            row = Row("(bare forward loop, 16 rows)", "its continuous batching", "tokens/s", None)
            yield peers(bench, mine, bare, peer, row, 10, count=16)


def prefix(bench: Bench) -> Iterator[Row]:
    """A second chat turn beside the same without what the first one computed."""
    tokens = 500 if bench.quick else 2000
    for name, mine, usual in _both(bench):
        row = Row(f"{name}, second turn", f"cold, {tokens:,} tokens of history", "s", 0.15, at_most=True)
        yield _pairs(row, lambda number: mine.ask("second_turn", tokens, number), bench.rounds_of(usual))  # noqa: B023


def beside(bench: Bench) -> Iterator[Row]:
    """A short request that comes while a long prompt is computed, beside that prompt."""
    tokens = 1500 if bench.quick else 4000
    for name, mine, usual in _both(bench):
        row = Row(f"{name}, short request", f"prefill of {tokens:,} tokens", "s", 0.25, at_most=True)
        yield _pairs(row, lambda number: mine.ask("beside_a_long_prompt", tokens, number), bench.rounds_of(usual))  # noqa: B023


def core(bench: Bench) -> Iterator[Row]:
    """Processor time per token in core, with an engine that costs nothing; and with one that lets others run for 5 ms
    a step, so that every token wakes its caller, beside a bare thread that wakes as many."""
    for kind in ("threads", "tasks"):
        for callers in (1, 8, 16, 64):
            tokens = max(100, (2000 if bench.quick else 16_000) // callers)
            row = Row(f"core, {callers} {kind}", "", "µs/token", 40.0, at_most=True)
            row.ours = [overhead.microseconds(kind, callers, tokens) for _ in range(bench.rounds_of(5))]
            yield row
    pause, tokens = 0.005, 40 if bench.quick else 200
    for callers in (1, 8, 16, 64):
        row = Row(f"core, {callers} threads, 5 ms steps", "bare thread and queues", "µs/token", None)
        yield compare(
            row,
            lambda _: overhead.microseconds("threads", callers, tokens, pause),  # noqa: B023 - called at once
            lambda _: overhead.handing_over(callers, tokens, pause),  # noqa: B023
            bench.rounds_of(3),
        )


def _both(bench: Bench) -> Iterator[tuple[str, Apart, int]]:
    with bench.llama() as (mine, _):
        yield "llama.cpp", mine, 5
    with bench.transformers() as mine:
        yield "transformers", mine, 3


def _pairs(row: Row, measure: Callable[[int], tuple[float, float]], rounds: int) -> Row:
    for number in range(rounds):
        one, other = measure(number)
        row.ours.append(one)
        row.theirs.append(other)
    return row


def in_turn(bench: Bench, mine: Apart, peer: Apart, row: Row, seed: int, usual: int) -> Row:
    """One caller who asks one thing after another, beside *peer* that does the same."""

    def requests(number: int) -> list[Ask]:
        return bench.requests(seed, number, 1 if bench.quick else 3)

    return compare(
        row,
        lambda number: mine.rate("in_turn", requests(number), clock=bench.clock),
        lambda number: answer(bench, mine, peer, requests(number)),
        bench.rounds_of(usual),
    )


def at_once(bench: Bench, mine: Apart, peer: Apart, row: Row, seed: int, *, callers: int, count: int) -> Row:
    """*callers* threads with *count* requests, beside *peer* that has them all."""

    def requests(number: int) -> list[Ask]:
        return bench.requests(seed, number, count)

    return compare(
        row,
        lambda number: mine.rate("at_once", requests(number), callers, clock=bench.clock),
        lambda number: answer(bench, mine, peer, requests(number)),
        bench.rounds_of(7),
    )


def peers(bench: Bench, mine: Apart, one: Apart, other: Apart, row: Row, seed: int, *, count: int) -> Row:
    """Two peers beside each other, with the requests that :func:`at_once` had."""

    def requests(number: int) -> list[Ask]:
        return bench.requests(seed, number, count)

    return compare(
        row,
        lambda number: answer(bench, mine, one, requests(number)),
        lambda number: answer(bench, mine, other, requests(number)),
        bench.rounds_of(5),
    )


def answer(bench: Bench, mine: Apart, peer: Apart, requests: list[Ask]) -> float:
    """Tokens a second of *peer*, which gets the requests as the tokens that LlamaForge makes of them."""
    return peer.rate("answer", mine.ask("prompts", requests), clock=bench.clock)


CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "llama-one": llama_one,
    "llama-bare": llama_bare,
    "llama-sequential": llama_sequential,
    "llama-server": llama_server,
    "hf-one": hf_one,
    "hf-bare": hf_bare,
    "hf-batch": hf_batch,
    "prefix": prefix,
    "beside": beside,
    "core": core,
}


def main() -> None:
    """Run the cases and print the table."""
    from forge_llamacpp.threads import usable_cores

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; may be given several times")
    parser.add_argument("--quick", action="store_true", help="one round of little work: to see that it runs")
    parser.add_argument("--rounds", type=int, help="rounds of each case")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="threads of each engine")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu: processor time, for a machine that others use too (with --threads 1, as waiting threads spin)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    options = parser.parse_args()

    bench = Bench(options.quick, options.threads, options.rounds, options.clock, {})
    begin = time.perf_counter()
    rows: list[Row] = []
    for name in options.case or CASES:
        for row in CASES[name](bench):
            rows.append(row)
            print(table([row]) if len(rows) == 1 else row, flush=True)
            if options.json:  # each time: who breaks it off has what there is
                options.json.write_text(json.dumps(document(options, bench, rows), indent=2) + "\n")
    print(", ".join(f"{name} {each}" for name, each in versions().items()))
    print(f"{options.threads} threads; {options.clock} time; {time.perf_counter() - begin:.0f} s")
    for name, each in bench.instruction_sets.items():
        print(f"{name}: {each.replace(' = 1', '').strip(' |')}")
    sys.exit(any(not row.met for row in rows) and not options.quick)


def document(options: argparse.Namespace, bench: Bench, rows: Sequence[Row]) -> dict[str, Any]:
    """All that was found, for JSON."""
    return {
        "versions": versions(),
        "threads": options.threads,
        "clock": options.clock,
        "instruction_sets": bench.instruction_sets,
        "rows": [row.to_dict() for row in rows],
    }


def versions() -> dict[str, str]:
    """What was measured."""
    return {name: version(name) for name in PEERS} | {"python": platform.python_version()}


if __name__ == "__main__":
    main()
