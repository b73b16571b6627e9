"""Whether `llamaforge bench` tells the truth: its figures of a server with known delays, and its verdicts.

    hatch run bench:accuracy                    every part, some minutes
    hatch run bench:accuracy mock stall         some parts
    hatch run bench:accuracy --json FILE

* *mock*: TTFT and TPOT at 1, 4 and 16 tokens a chunk, 4 streams; and how late 500 sends a second are.
* *stall*: a server that stands still for two seconds amid 100 requests a second; the p99 beside the computed one.
* *starved*: clients that share a processor with four busy processes, or their interpreter with two busy threads.
* *alone*: the same client where nobody starves it: no run may be marked.
* *compare*: simulated trials of equal engines, and of one that is 5% slower.
* *cpu*: processor time of the client for each streamed chunk at 32 streams, beside forge-openai's.

mock, stall and alone need an idle machine, or `chrt -f 20` on a busy one. Each part prints its bar.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from forge_bench import Benchmark, Results, Synthetic
from forge_bench.calibration.calibrate import calibrate
from forge_bench.calibration.server import Delays, running
from forge_bench.compare import compare as compare_runs
from forge_bench.driver import Item, Plan, carry_out
from forge_bench.loop import run as run_loop
from forge_bench.metrics import summarize
from forge_bench.records import Call, Record, Trial
from forge_bench.results import Level
from forge_bench.statistics import percentile
from forge_bench.targets.server import ServerSettings, ServerTarget

RUNS = 20
COMPARISONS = 400
STREAMS, CHUNKS, PAUSE = 32, 100, 20_000


def row(what: str, value: float, bar: str, *, met: bool) -> dict[str, Any]:
    return {"what": what, "value": value, "bar": bar, "met": bool(met)}


def mock() -> list[dict[str, Any]]:
    report = asyncio.run(calibrate(requests=24))
    rows = []
    for check in report.checks:
        if check.unit == "share":
            rows.append(row(check.name, check.measured, "at least 0.99", met=check.measured >= 0.99))
        else:
            off = abs(check.measured - check.known)
            rows.append(row(f"{check.name}: off by, ms", off * 1e3, f"{check.allowed * 1e3:g} ms", met=check.passed))
    rows.append(row("from send to note of a chunk, median, ms", report.read_delay["p50"] * 1e3, "none", met=True))
    return rows


def stall() -> list[dict[str, Any]]:
    """Requests at a constant rate, answered after 20 ms, but for two seconds in which nothing is sent."""
    count, rate, ttft, length, after = 1000, 100.0, 0.02, 2.0, 400
    with running(Delays(ttft=ttft, tokens=1, stall_after=after, stall=length)) as url:
        benchmark = Benchmark(
            url,
            prompts=[f"Number {number}" for number in range(count)],
            mode="serve",
            arrival_rate=rate,
            arrival_pattern="constant",
            warmup=0,
            trials=1,
            sampling={"max_tokens": 1},
        )
        (level,) = asyncio.run(benchmark.run()).levels
    begun = (after - 1) / rate
    due = [number / rate + ttft for number in range(count)]
    waits = [(max(at, begun + length) if begun <= at < begun + length else at) - (at - ttft) for at in due]
    computed, reported = percentile(sorted(waits), 99), level.metrics["ttft"].p99 or 0.0
    off = abs(reported / computed - 1)
    return [row(f"p99 of {computed:.3f} s: off by, share", off, "0.02", met=off <= 0.02)]


def _busy(started: Any) -> None:
    started.release()
    while True:
        pass


@contextlib.contextmanager
def crowded_processor() -> Iterator[None]:
    """This process shares one processor with four busy ones."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    spawning = multiprocessing.get_context("spawn")
    started = spawning.Semaphore(0)
    hogs = [spawning.Process(target=_busy, args=(started,), daemon=True) for _ in range(4)]
    for hog in hogs:
        hog.start()
    for _ in hogs:
        started.acquire()  # they are no crowd as long as they import what they need
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.join()
        os.sched_setaffinity(0, usable)


@contextlib.contextmanager
def crowded_interpreter() -> Iterator[None]:
    """This process has two busy threads."""
    ended = threading.Event()

    def spin() -> None:
        while not ended.is_set():
            pass

    threads = [threading.Thread(target=spin) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def starved() -> list[dict[str, Any]]:
    rows = []
    ways: dict[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
        "with four busy processes": crowded_processor,
        "with two busy threads": crowded_interpreter,
    }
    with running(Delays(ttft=0.05, tpot=0.005, tokens=16)) as url:
        for name, crowd in ways.items():
            with crowd():
                runs = [not _short(url).valid for _ in range(RUNS)]
            marked = sum(runs)
            if marked < RUNS:
                print(f"starved {name}: not marked: {[index for index, each in enumerate(runs) if not each]}")
            rows.append(row(f"{name}: marked invalid of {RUNS}", marked, f"{RUNS}", met=marked == RUNS))
    return rows


def alone() -> list[dict[str, Any]]:
    with running(Delays(ttft=0.05, tpot=0.005, tokens=16)) as url:
        marked = sum(not _short(url).valid for _ in range(RUNS))
    return [row(f"marked invalid of {RUNS}", marked, "0", met=marked == 0)]


def _short(url: str) -> Results:
    load = Synthetic(prompt_tokens=16, output_tokens=16)
    return asyncio.run(Benchmark(url, dataset=load, concurrency=4, runs=16, warmup=1, trials=1).run())


def _simulated(draw: random.Random, factor: float) -> Results:
    """Five trials of 50 requests: 5% noise of a request, 1.5% of a trial."""
    trials = []
    for _ in range(5):
        speed = factor * draw.lognormvariate(0, 0.015)
        records, now = [], 0.0
        for index in range(50):
            first = 0.1 * speed * draw.lognormvariate(0, 0.05)
            token = 0.01 * speed * draw.lognormvariate(0, 0.05)
            end = now + first + 63 * token
            records.append(
                Record(
                    index=index,
                    intended=now,
                    sent=now,
                    chunk_times=[now + first, end],
                    end=end,
                    completion_tokens=64,
                    first_chunk_tokens=1,
                )
            )
            now = end
        trials.append(Trial(records=records, duration=now))
    level = Level(concurrency=1, metrics=summarize(trials), trials=trials)
    return Results(target="simulated", mode="latency", levels=[level])


def compare() -> list[dict[str, Any]]:
    draw = random.Random(19)
    alarms = found = 0
    for _ in range(COMPARISONS):
        base = _simulated(draw, 1.0)
        alarms += compare_runs(base, _simulated(draw, 1.0), threshold=0.0).verdict != "no difference"
        found += compare_runs(base, _simulated(draw, 1.05)).verdict == "slower"
    return [
        row(f"false alarms, share of {COMPARISONS}", alarms / COMPARISONS, "0.05", met=alarms / COMPARISONS <= 0.05),
        row("a slowdown by 5% found, share", found / COMPARISONS, "0.9", met=found / COMPARISONS >= 0.9),
    ]


def cpu() -> list[dict[str, Any]]:
    import wire

    from forge_openai import OpenAIBackend

    with wire.server() as root:
        address = f"{root}/{CHUNKS}/{PAUSE}/v1"

        async def ours() -> float:
            target = ServerTarget(ServerSettings(url=address, model=wire.MODEL))
            items = [Item(call=Call(prompt=wire.PROMPT), index=index) for index in range(STREAMS)]
            await carry_out(target, Plan(items=items[:1]))
            used = time.process_time()
            sent = await carry_out(target, Plan(items=items))
            used = time.process_time() - used
            assert all(len(record.chunk_times) == CHUNKS for record in sent.records)
            await target.close()
            return used / STREAMS / CHUNKS * 1e6

        async def backend() -> float:
            with OpenAIBackend() as loaded:
                loaded.load_model(wire.MODEL, {"api_base": address, "api_key": wire.KEY})

                async def read() -> None:
                    async for _ in loaded.agenerate_stream(wire.PROMPT):
                        pass

                await read()
                used = time.process_time()
                await asyncio.gather(*[read() for _ in range(STREAMS)])
                return (time.process_time() - used) / STREAMS / CHUNKS * 1e6

        measured = min(run_loop(ours()) for _ in range(5))
        beside = min(run_loop(backend()) for _ in range(5))
    bar = beside + 5
    return [
        row(
            f"us a chunk at {STREAMS} streams",
            measured,
            f"{bar:.1f}: forge-openai {beside:.1f} + 5",
            met=measured <= bar,
        )
    ]


PARTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "mock": mock,
    "stall": stall,
    "starved": starved,
    "alone": alone,
    "compare": compare,
    "cpu": cpu,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    options = parser.parse_args()
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    rows = []
    for name in options.parts or PARTS:
        for found in PARTS[name]():
            rows.append({"part": name, **found})
            met = "met" if found["met"] else "MISSED"
            print(f"{name}: {found['what']}: {found['value']:.4g} (bar: {found['bar']}, {met})")
    if options.json:
        options.json.write_text(json.dumps({"load": os.getloadavg(), "rows": rows}, indent=2))
    sys.exit(0 if all(found["met"] for found in rows) else 1)


if __name__ == "__main__":
    main()
