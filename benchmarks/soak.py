"""Callers who come and go at random, for long: does every request end, exactly once, and is the memory flat?

    hatch run bench:soak --minutes 10

Threads and tasks of an event loop ask one loaded model for texts of random lengths. Some leave early, some have
deadlines, some ask for what can't be. Each request must end in exactly one terminal event or one error of the kind that
was to be expected; while any waits, one must end within two minutes; and the memory in use may not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import ours
from measuring.load import QUESTIONS, prose

from llamaforge.errors import (
    ContextOverflowError,
    GenerationTimeoutError,
    QueueFullError,
    RequestError,
)
from llamaforge.results import Finished

THREADS, TASKS = 8, 8
PATIENCE = 120.0
"""Seconds in which some request must end while any waits. Each must end in five times as many."""


@dataclass
class Soak:
    """The run: what has been asked, how it ended, what went wrong."""

    backend: Any
    n_ctx: int
    longest: int
    end: float
    endings: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    tokens: int = 0
    last: float = field(default_factory=time.monotonic)
    """When a request ended last."""
    begun: dict[str, float] = field(default_factory=dict)
    """When the request that each caller waits for now was begun."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, ending: str, *, right: bool, tokens: int = 0) -> None:
        """A request of that *kind* has ended."""
        with self.lock:
            self.endings[kind, ending] += 1
            self.last = time.monotonic()
            self.tokens += tokens
            if not right:
                self.wrong.append(f"{kind}: {ending}")


@dataclass
class Plan:
    """A request, and what its caller does with it."""

    kind: str
    prompt: str
    parameters: dict[str, Any]
    leave_after: int | None = None
    """Pieces after which the caller leaves."""
    cancel_after: float | None = None
    """Seconds after which somebody else cancels."""
    expected: tuple[type[Exception], ...] = ()
    """Errors that may end it, beside a full queue."""
    must_fail: bool = False


def plan(soak: Soak, rng: random.Random) -> Plan:
    """What a caller asks next."""
    prompt = rng.choice(QUESTIONS) if rng.random() < 0.5 else prose(rng.randrange(20, soak.n_ctx), rng.randrange(9))
    parameters: dict[str, Any] = {
        "max_tokens": rng.randrange(1, soak.longest),
        "temperature": rng.choice([0, 0.7, 1.5]),
    }
    if rng.random() < 0.3:
        parameters |= {"top_p": rng.uniform(0.1, 1), "top_k": rng.randrange(1, 99), "seed": rng.randrange(2**31)}
    if rng.random() < 0.2:
        parameters |= {"repetition_penalty": 1.2, "stop": rng.sample(["e", "the", "\n\n", "never this"], 2)}
    if rng.random() < 0.1:
        parameters |= {"logprobs": True, "top_logprobs": 3}
    overflow: tuple[type[Exception], ...] = (ContextOverflowError,)
    kind = rng.choices(["whole", "leaves", "cancelled", "deadline", "bad"], [8, 3, 3, 2, 2])[0]
    if kind == "leaves":
        return Plan(kind, prompt, parameters, leave_after=rng.randrange(4), expected=overflow)
    if kind == "cancelled":
        return Plan(kind, prompt, parameters, cancel_after=rng.expovariate(5), expected=overflow)
    if kind == "deadline":
        parameters["timeout"] = rng.choice([0.001, 0.05, 0.5])
        return Plan(kind, prompt, parameters, expected=(GenerationTimeoutError, *overflow))
    if kind == "bad":
        prompt, bad = rng.choice(
            [
                ("x" * 20, {"max_tokens": -1}),
                ("x" * 20, {"max_token": 5}),
                ("x" * 20, {"logit_bias": {10**9: 1.0}}),
                ("\ud800", {}),
                (prose(soak.n_ctx * 9), {}),
            ]
        )
        return Plan(kind, prompt, bad, expected=(RequestError,), must_fail=True)
    return Plan(kind, prompt, parameters, expected=overflow)


def judge(soak: Soak, asked: Plan, ends: list[Finished], after_end: bool, error: Exception | None) -> None:
    """Whether a request ended as it may."""
    if error is not None:
        right = isinstance(error, (QueueFullError, *asked.expected)) and not ends
        soak.note(asked.kind, type(error).__name__, right=right)
        return
    end = ends[0] if len(ends) == 1 else None
    if end is None or after_end or (end.usage is None and end.finish_reason != "cancelled"):
        soak.note(asked.kind, f"{len(ends)} ends{', and more after it' if after_end else ''}", right=False)
        return
    may_be_cancelled = asked.cancel_after is not None
    right = not asked.must_fail and (end.finish_reason in ("stop", "length") or may_be_cancelled)
    soak.note(asked.kind, end.finish_reason, right=right, tokens=end.usage.completion_tokens if end.usage else 0)


def caller(soak: Soak, name: str) -> None:
    """A thread that asks one thing after another."""
    rng = random.Random(name)
    while time.monotonic() < soak.end:
        asked = plan(soak, rng)
        soak.begun[name] = time.monotonic()
        ends: list[Finished] = []
        after_end, error, timer = False, None, None
        try:
            stream = soak.backend.generate_stream(asked.prompt, asked.parameters)
            if asked.cancel_after is not None:
                timer = threading.Timer(asked.cancel_after, stream.cancel)
                timer.start()
            if asked.leave_after is not None:
                for _ in range(asked.leave_after):
                    next(stream, None)
                stream.close()
                soak.note(asked.kind, f"left ({stream.result.finish_reason})", right=True)
                continue
            for event in stream.events():
                after_end = after_end or bool(ends)
                if isinstance(event, Finished):
                    ends.append(event)
        except Exception as problem:  # noqa: BLE001 - it is what we look for
            error = problem
        finally:
            soak.begun.pop(name, None)
            if timer is not None:
                timer.cancel()
        judge(soak, asked, ends, after_end, error)
        time.sleep(rng.expovariate(2 if isinstance(error, QueueFullError) else 20))


async def task(soak: Soak, name: str) -> None:
    """The same in an event loop; who is cancelled there is cancelled as a task."""
    rng = random.Random(name)
    while time.monotonic() < soak.end:
        asked = plan(soak, rng)
        soak.begun[name] = time.monotonic()
        ends: list[Finished] = []
        after_end, error = False, None
        try:
            async with soak.backend.agenerate_stream(asked.prompt, asked.parameters) as stream:
                if asked.leave_after is not None:
                    for _ in range(asked.leave_after):
                        await anext(stream, None)
                    await stream.aclose()
                    soak.note(asked.kind, f"left ({stream.result.finish_reason})", right=True)
                    continue
                async with asyncio.timeout(asked.cancel_after):
                    async for event in stream.events():
                        after_end = after_end or bool(ends)
                        if isinstance(event, Finished):
                            ends.append(event)
        except TimeoutError as problem:
            if asked.cancel_after is None:
                error = problem
            else:
                soak.note(asked.kind, "its task cancelled", right=True)
                continue
        except Exception as problem:  # noqa: BLE001 - it is what we look for
            error = problem
        finally:
            soak.begun.pop(name, None)
        judge(soak, asked, ends, after_end, error)
        await asyncio.sleep(rng.expovariate(2 if isinstance(error, QueueFullError) else 20))


def run(backend: Any, n_ctx: int, longest: int, seconds: float) -> dict[str, Any]:
    """Soak *backend* and say what was seen."""
    from support.processes import memory_held

    soak = Soak(backend, n_ctx, longest, time.monotonic() + seconds)

    async def tasks() -> None:
        await asyncio.gather(*(task(soak, f"task {number}") for number in range(TASKS)))

    workers = [
        threading.Thread(target=caller, args=(soak, f"thread {number}"), daemon=True) for number in range(THREADS)
    ]
    workers.append(threading.Thread(target=asyncio.run, args=(tasks(),), daemon=True))
    for worker in workers:
        worker.start()
    memory: list[float] = []
    stuck: list[str] = []
    while any(worker.is_alive() for worker in workers) and not stuck:
        time.sleep(0.5)
        memory.append(memory_held() / 2**20)
        now = time.monotonic()
        patience = PATIENCE if now - soak.last > PATIENCE else 5 * PATIENCE
        stuck = [name for name, begun in list(soak.begun.items()) if now - begun > patience]
    if stuck:
        faulthandler.dump_traceback(all_threads=True)
        return {"stuck": stuck}
    return {
        "stuck": [],
        "requests": sum(soak.endings.values()),
        "tokens": soak.tokens,
        "wrong": soak.wrong,
        "endings": {f"{kind}: {ending}": count for (kind, ending), count in sorted(soak.endings.items())},
        "memory": memory,
        "answers_afterwards": bool(backend.generate("Hello", max_tokens=8, seed=1).usage),
    }


def growth(memory: list[float]) -> float:
    """By how many MiB the memory of the last quarter is above that of the second one."""
    quarter = len(memory) // 4
    return statistics.median(memory[-quarter:]) - statistics.median(memory[quarter : 2 * quarter]) if quarter else 0.0


def llama(small: bool) -> tuple[Any, int, int]:
    """SmolLM2 in llama.cpp; *small*: with little context."""
    n_ctx = 512 if small else 2048
    more = {"n_threads": 1} if small else {}
    return (
        ours.load("llama.cpp", ours.gguf(), n_ctx=n_ctx, n_parallel=6, max_queue=9, **more),
        n_ctx,
        16 if small else 64,
    )


def transformers(small: bool) -> tuple[Any, int, int]:
    """SmolLM2 in transformers; *small*: a model of two layers that says nonsense."""
    if not small:
        return ours.load("huggingface", ours.safetensors(), n_ctx=2048, n_parallel=6, max_queue=9), 2048, 64
    import torch
    from transformers import AutoTokenizer

    from support.hf_models import make_tiny_model

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tiny = make_tiny_model(Path(folder), AutoTokenizer.from_pretrained(ours.safetensors()), context=512)
        return ours.load("huggingface", tiny, n_parallel=6, max_queue=9, device="cpu"), 512, 16


ENGINES: dict[str, Callable[[bool], tuple[Any, int, int]]] = {"llama.cpp": llama, "huggingface": transformers}


def main() -> None:
    """Soak one engine after the other, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="for each engine")
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument(
        "--small", action="store_true", help="little context, one thread; for transformers a tiny model"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()

    seen: dict[str, Any] = {}
    for name in options.engine or ENGINES:
        backend, n_ctx, longest = ENGINES[name](options.small)
        found = seen[name] = run(backend, n_ctx, longest, options.minutes * 60)
        if not found["stuck"]:
            backend.unload_model()
            found["growth"] = growth(found["memory"])
        if not options.json:
            show(name, found)
    if options.json:
        print(json.dumps(seen))
    sys.exit(any(found["stuck"] or found["wrong"] for found in seen.values()))


def show(name: str, found: dict[str, Any]) -> None:
    """One engine's table."""
    if found["stuck"]:
        print(f"{name}: STUCK: {', '.join(found['stuck'])}; the threads' stacks stand above")
        return
    print(f"{name}: {found['requests']:,} requests, {found['tokens']:,} tokens of whole or cancelled answers")
    for ending, count in found["endings"].items():
        print(f"  {ending:<40} {count:>7,}")
    memory = found["memory"]
    print(f"  ended as it may not: {len(found['wrong'])} {found['wrong'][:3] or ''}")
    print(
        f"  {memory[len(memory) // 4]:,.0f} MiB held after a quarter, {memory[-1]:,.0f} MiB at the end",
        end="",
    )
    print(f" ({found['growth']:+,.0f} MiB from the second quarter to the last)")


if __name__ == "__main__":
    main()
