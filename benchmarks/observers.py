"""What observers cost, and whether each request ends exactly once.

    hatch run bench:observers

``none_attached_ns``: what a request pays while nobody observes: the lines that look whether anybody does, timed by
themselves. ``otel_us``: processor time that a request of the echo backend takes more with forge-otel's observer, whose
spans and metrics OpenTelemetry's SDK takes into memory; both ways take turns. ``requests`` are made by threads and end
in every way; ``wrong`` counts those that didn't start and end exactly once, or not as they should have.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import random
import statistics
import sys
import threading
import time
import timeit
from collections import Counter
from collections.abc import Callable
from typing import Any

from llamaforge import LlamaForge, observers, observing
from llamaforge.backends.echo import EchoBackend
from llamaforge.errors import LlamaForgeError
from llamaforge.requests import merge_parameters

WAYS = ("finished", "refused", "cancelled", "abandoned")


def none_attached() -> float:
    """Nanoseconds of what is done in a request while nobody observes: as ``BaseBackend._start`` has it, and what stands
    between ``LlamaForge`` and the backend."""

    def with_look() -> None:
        watch = print if observing.wanted else None
        try:
            if watch is not None:
                watch()
        except BaseException:
            if watch is not None:
                watch()
            raise
        _ = watch if watch is None else 1

    def without() -> None:
        _ = None

    with LlamaForge() as forge:
        forge.add_model("m", "m", backend="echo")
        forge.load_model("m")

        def watched() -> object:
            return forge._asked(None, "generate", None, {})

        def plain() -> object:  # as it was before refusals were observed
            return forge.backend(None), merge_parameters(None, {})

        return difference(with_look, without) + difference(watched, plain)


def difference(one: Callable[[], object], other: Callable[[], object]) -> float:
    """Nanoseconds that *one* takes more."""
    number = 1_000_000
    best = {work: min(timeit.repeat(work, number=number, repeat=9)) for work in (one, other)}
    return (best[one] - best[other]) / number * 1e9


def telemetry(rounds: int, calls: int) -> float:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from forge_otel import OpenTelemetryObserver

    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    observer = OpenTelemetryObserver(tracers, MeterProvider(metric_readers=[InMemoryMetricReader()]))
    more = []
    with contextlib.closing(EchoBackend()) as backend:
        backend.load_model("m")
        seconds(backend, calls)
        for _ in range(rounds):
            plain = seconds(backend, calls)
            with observers.attach(observer):
                more.append(seconds(backend, calls) - plain)
            exporter.clear()
    return statistics.median(more) / calls * 1e6


def seconds(backend: EchoBackend, calls: int) -> float:
    """Processor time of this process."""
    began = time.process_time()
    for _ in range(calls):
        backend.generate("one two three")
    return time.process_time() - began


class Ear(observers.Observer):
    """Counts what it hears."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[tuple[str, str]] = []

    def on_start(self, request: Any) -> None:  # noqa: D102
        self.started.append(request.id)

    def on_end(self, request: Any, end: Any) -> None:  # noqa: D102
        self.ended.append((request.id, end.outcome))


def endings(requests: int) -> int:
    ear, expected, lock = Ear(), Counter[str](), threading.Lock()
    with contextlib.closing(EchoBackend()) as backend, observers.attach(ear):
        backend.load_model("m", {"max_queue": 100_000})

        def work(seed: int) -> None:
            choice = random.Random(seed)
            for _ in range(requests // 8):
                way = choice.choice(WAYS)
                end(backend, way)
                with lock:
                    expected[way] += 1

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
    starts, ends = Counter(ear.started), Counter(each for each, _ in ear.ended)
    wrong = sum(count != 1 for count in (*starts.values(), *ends.values())) + len(starts.keys() ^ ends.keys())
    return wrong + sum((expected - Counter(outcome for _, outcome in ear.ended)).values())


def end(backend: EchoBackend, way: str) -> None:
    if way == "finished":
        backend.generate("one two")
    elif way == "refused":
        with contextlib.suppress(LlamaForgeError):
            backend.generate("")
    elif way == "cancelled":
        with backend.generate_stream("one two") as stream:
            next(stream)
    else:
        next(backend.generate_stream("one two"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    found = {
        "none_attached_ns": none_attached(),
        "otel_us": telemetry(arguments.rounds, 500),
        "requests": arguments.requests // 8 * 8,
        "wrong": endings(arguments.requests),
    }
    print(json.dumps(found, indent=2))
    sys.exit(0 if found["none_attached_ns"] <= 50 and found["otel_us"] <= 150 and not found["wrong"] else 1)


if __name__ == "__main__":
    main()
