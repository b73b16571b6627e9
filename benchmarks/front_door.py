"""What a call costs before the engine sees it, a token and an import in core; and what other models wait for while one
loads.

    hatch run bench:front-door
    hatch run bench:front-door --against ../other-checkout

The time ends where the backend's stream begins; the second line of each kind has the whole call, with an answer of one
piece. Processor time of this thread, the best of several rounds. A token's is the whole process's, with an engine that
costs nothing (measuring/overhead.py); an import's is what a process takes beyond bare Python. With *--against*, another
checkout of the project does the same, each in processes of its own that take turns, and the table shows the ratios. The
second table has the 99th percentile of the time that requests to one model take, while another one loads for a second
and while none does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from measuring import overhead

from llamaforge import BackendSpec, BaseBackend, Capabilities, Event, Finished, LlamaForge, TextDelta
from llamaforge.backends.registry import register_backend
from llamaforge.requests import GenerationRequest

CALLS = 2_000
TOKENS = 8_000
MESSAGES = [{"role": "user", "content": "Hello"}]
OPTIONS = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 20, "stop": ["###"], "seed": 1}
LOAD_SECONDS = 1.0
ROOT = Path(__file__).resolve().parent.parent


class Instant(BaseBackend):
    """Answers at once, and takes a second to load the model called "slow"."""

    spec = BackendSpec(
        name="instant",
        target=f"{__name__}:Instant",
        config="llamaforge:BackendConfig",
        summary="For a benchmark.",
        capabilities=Capabilities(parameters=frozenset(OPTIONS)),
    )

    def load(self, model_path: str, config: Any) -> None:  # noqa: D102 - the contract's
        if "slow" in model_path:
            time.sleep(LOAD_SECONDS)

    reached = 0

    def stream(self, request: GenerationRequest, *cancellation: Any) -> Iterator[Event]:  # noqa: D102
        Instant.reached = time.thread_time_ns()
        yield TextDelta("Hi")
        yield Finished(finish_reason="stop")


def calls(forge: LlamaForge) -> dict[str, Callable[[], object]]:
    """What is timed."""
    return {
        "generate": lambda: forge.generate("Hello"),
        "generate, a mapping": lambda: forge.generate("Hello", OPTIONS),
        "generate, keywords": lambda: forge.generate("Hello", **OPTIONS),  # type: ignore[arg-type]
        "chat": lambda: forge.chat(MESSAGES),
    }


def opened(folder: str) -> LlamaForge:
    """A front door with two models."""
    register_backend("instant", Instant, replace=True)
    forge = LlamaForge(Path(folder) / "models.toml")
    for name in ("quick", "slow"):
        forge.add_model(name, name, backend="instant")
    forge.load_model("quick")
    return forge


def microseconds(call: Callable[[], object], number: int) -> tuple[float, float]:
    """Processor time of one call, until the backend is reached and in all."""
    before = whole = 0
    for _ in range(number):
        start = time.thread_time_ns()
        call()
        whole += time.thread_time_ns() - start
        before += Instant.reached - start
    return before / number / 1000, whole / number / 1000


def round_of_calls() -> dict[str, float]:
    """The best of five for each kind of call."""
    with tempfile.TemporaryDirectory() as folder, opened(folder) as forge:
        kinds = calls(forge)
        for call in kinds.values():
            microseconds(call, CALLS // 10)
        found = {}
        for name, call in kinds.items():
            times = [microseconds(call, CALLS // 5) for _ in range(5)]
            found[name] = min(before for before, _ in times)
            found[f"{name}, whole"] = min(whole for _, whole in times)
    for kind, callers in (("threads", 1), ("threads", 8), ("tasks", 8)):
        measured = [overhead.microseconds(kind, callers, TOKENS // callers) for _ in range(5)]
        found[f"a token, {callers} {kind}"] = min(measured)
    return found


def importing(environment: dict[str, str], statement: str) -> float:
    """Processor time of a statement, in microseconds: the least of several processes, less bare Python's. All modules
    are compiled before."""

    def least(code: str) -> float:
        times = []
        for _ in range(8):
            child = subprocess.Popen([sys.executable, "-c", code], env=environment)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode:
                sys.exit(f"{code!r} failed.")
            times.append(used.ru_utime + used.ru_stime)
        return min(times) * 1e6

    return least(statement) - least("pass")


def waits() -> tuple[float, float]:
    """99th percentile of a request's time, in microseconds: while another model loads, and while none does."""
    with tempfile.TemporaryDirectory() as folder, opened(folder) as forge:

        def times() -> list[float]:
            taken = []
            end = time.perf_counter() + LOAD_SECONDS * 0.9
            while time.perf_counter() < end:
                start = time.perf_counter()
                forge.generate("Hello", model="quick")
                taken.append((time.perf_counter() - start) * 1e6)
                time.sleep(0.0005)
            return taken

        without = times()
        loading = threading.Thread(target=forge.load_model, args=("slow",))
        loading.start()
        during = times()
        loading.join()
    return statistics.quantiles(during, n=100)[-1], statistics.quantiles(without, n=100)[-1]


def apart(checkout: Path) -> dict[str, float]:
    """:func:`round_of_calls` of a checkout, in a process of its own."""
    path = os.pathsep.join(str(source) for source in sorted(checkout.resolve().glob("packages/*/src")))
    command = [sys.executable, __file__, "--calls"]
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        sys.exit(f"{checkout}: {run.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(run.stdout)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        environment["PYTHONPYCACHEPREFIX"] = folder
        statements = ("import llamaforge", "from llamaforge import LlamaForge")
        return {**found, **{statement: importing(environment, statement) for statement in statements}}


def main() -> None:
    """Time it and print the tables."""
    parser = argparse.ArgumentParser(description="What a call costs before the engine sees it.")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout of the project to compare")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--calls", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.calls:
        print(json.dumps(round_of_calls()))
        return
    checkouts = [ROOT] if options.against is None else [ROOT, options.against]
    rounds = [[apart(checkout) for checkout in checkouts] for _ in range(options.rounds)]
    waited = [waits() for _ in range(options.rounds)]
    if options.json:
        print(json.dumps({"calls": rounds, "p99_while_loading": waited}, indent=2))
        return
    print(f"{'processor time of a call, µs':<34} {'ours':>8} {'theirs':>8} {'ratio':>7}  of the rounds")
    for name in rounds[0][0]:
        ours = [each[0][name] for each in rounds]
        line = f"{name:<34} {min(ours):>8.2f}"
        if options.against is not None:
            ratios = [each[0][name] / each[1][name] for each in rounds]
            theirs = min(each[1][name] for each in rounds)
            spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
            line += f" {theirs:>8.2f} {statistics.median(ratios):>7.3f}  {spread}"
        print(line)
    print(f"\n{'99th percentile of a request, µs':<34} {'loading':>8} {'idle':>8} {'ratio':>7}")
    for during, without in waited:
        print(f"{'while another model loads':<34} {during:>8.1f} {without:>8.1f} {during / without:>7.3f}")


if __name__ == "__main__":
    main()
