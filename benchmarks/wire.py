"""What reading a server costs: forge-openai beside the openai SDK's own iteration, and beside the peers.

    hatch run bench:wire            ours and the SDK
    hatch run wire:bench            with the peers, in an environment that has them

CPU time of the client alone, user and system, against a server in another process on this machine (wire_server.py).
Each client runs in a process of its own, twice in turn, and the best round counts, so that a change of the machine's
speed falls on all alike. *At once*: the server sends as fast as it can. *One by one*: with a pause after each, so that
every chunk is a read of its own; there the system calls of a read are most of it. Bars: at most 10 µs per chunk, and a
twentieth of the SDK; a whole answer (not streamed to the caller) at most the SDK's.

Then 200 streams at once through one client in one event loop on one core, and the memory over 100,000 chunks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wire_clients import CLIENTS, KEY, MODEL, PROMPT

HERE = Path(__file__).parent
CHUNKS, ROUNDS = 2000, 7
PACED, PAUSE = 300, 1000
"""Chunks that come one by one, and the microseconds between two."""
WORDS, REQUESTS = 32, 30
"""Tokens of a whole answer, and how many are asked for in a round."""
STREAMS, LENGTH, TICK = 200, 100, 20_000
"""Streams at once, chunks of each, microseconds between two of them."""
LONG = 100_000
MOST_MICROSECONDS, TIMES_CHEAPER = 10.0, 20.0


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run the server; its address."""
    child = subprocess.Popen([sys.executable, str(HERE / "wire_server.py")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(child.stdout.readline())}"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def cpu(work: Callable[[], object], rounds: int) -> float:
    """Seconds of CPU time, the least of some rounds."""
    work()
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def measure(name: str, root: str) -> dict[str, float]:
    """One client: microseconds per chunk, and per whole answer."""
    make = CLIENTS[name][1]

    def streaming(count: int, pause: int) -> Callable[[], object]:
        stream = make(f"{root}/{count}/{pause}/v1")[0]

        def work() -> None:
            tokens = stream()
            assert tokens in (count, -1), f"{name} counted {tokens} tokens instead of {count}"

        return work

    ask = make(f"{root}/{WORDS}/0/v1")[1]
    return {
        "at once": cpu(streaming(CHUNKS, 0), ROUNDS) / CHUNKS * 1e6,
        "one by one": cpu(streaming(PACED, PAUSE), 1) / PACED * 1e6,
        "whole": cpu(lambda: [ask() for _ in range(REQUESTS)], ROUNDS) / REQUESTS * 1e6,
    }


def many(root: str) -> dict[str, float]:
    """Many streams at once through one client, in one event loop, on one core."""
    from forge_openai import OpenAIBackend

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    wanted = [f" {number}" for number in range(LENGTH)]
    longest = 0.0

    async def read(backend: OpenAIBackend) -> None:
        nonlocal longest
        pieces, last = [], None
        async for piece in backend.agenerate_stream(PROMPT):
            now = time.perf_counter()
            longest = max(longest, now - (last or now))
            last = now
            pieces.append(piece)
        assert pieces == wanted, "a stream in another order"

    async def run() -> tuple[float, float]:
        backend = OpenAIBackend()
        backend.load_model(MODEL, {"api_base": f"{root}/{LENGTH}/{TICK}/v1", "api_key": KEY})
        with backend:
            began, used = time.perf_counter(), time.process_time()
            await asyncio.gather(*[read(backend) for _ in range(STREAMS)])
            return time.perf_counter() - began, time.process_time() - used

    wall, used = asyncio.run(run())
    return {
        "wall seconds": wall,
        "share of a core": used / wall,
        "microseconds per chunk": used / STREAMS / LENGTH * 1e6,
        "longest wait for a chunk, seconds": longest,
    }


def memory(root: str) -> dict[str, float]:
    """What reading a stream takes at its peak: kilobytes more than before, beyond the answer's own text."""
    from forge_openai import OpenAIBackend

    backend = OpenAIBackend()

    def grown(count: int) -> float:
        backend.load_model(MODEL, {"api_base": f"{root}/{count}/0/v1", "api_key": KEY})
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with backend.generate_stream(PROMPT) as stream:
            for _ in stream.events():
                pass
            text = len(stream.text) / 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before - text

    grown(LONG // 100)  # what the first request of a process needs
    return {f"{count:,} chunks": grown(count) for count in (LONG // 10, LONG)}


def in_a_process(what: str, root: str) -> Any:
    """Run a part of this script by itself; what it found, or None where its library is missing."""
    done = subprocess.run(
        [sys.executable, __file__, "--part", what, "--root", root], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode == 3:
        return None
    done.check_returncode()
    return json.loads(done.stdout.splitlines()[-1])


def part(what: str, root: str) -> None:
    """Be such a process."""
    try:
        found = {"many": many, "memory": memory}[what](root) if what not in CLIENTS else measure(what, root)
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # some clients leave threads behind


def installed(name: str) -> str | None:
    """The version of a client's distribution."""
    with contextlib.suppress(PackageNotFoundError):
        return version(CLIENTS[name][0])
    return None


def verdict(name: str, value: float, bar: float, *, least: bool = False) -> dict[str, Any]:
    """A figure beside its bar."""
    return {"what": name, "value": value, "bar": bar, "met": value >= bar if least else value <= bar}


def main() -> None:
    """Run every part and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        part(options.part, options.root)

    versions = {name: installed(name) for name in CLIENTS}
    table: dict[str, Any] = dict.fromkeys(CLIENTS)
    with server() as root:
        for _ in range(2):
            for name in [name for name in CLIENTS if versions[name]]:
                found = in_a_process(name, root)
                earlier = table[name] or found
                table[name] = found and {what: min(value, earlier[what]) for what, value in found.items()}
        crowd, growth = in_a_process("many", root), in_a_process("memory", root)

    ours, sdk = table["forge"], table["openai"]
    bars = [
        verdict("microseconds per chunk", ours["at once"], MOST_MICROSECONDS),
        verdict("times cheaper than the SDK", sdk["at once"] / ours["at once"], TIMES_CHEAPER, least=True),
        verdict("a whole answer, times the SDK's", ours["whole"] / sdk["whole"], 1.0),
    ]
    result = {"python": sys.version.split()[0], "versions": versions, "microseconds": table, "bars": bars}
    result |= {f"{STREAMS} streams": crowd, "kilobytes beyond the text": growth}
    print(json.dumps(result, indent=2) if options.json else tables(result))


def tables(result: dict[str, Any]) -> str:
    """The results, for people."""
    lines = [f"Python {result['python']}; CPU time in microseconds", ""]
    lines.append(f"{'client':<28}{'a chunk, at once':>18}{'one by one':>12}{'a whole answer':>16}")
    for name, found in result["microseconds"].items():
        label = f"{CLIENTS[name][0]} {result['versions'][name] or ''}"
        if found is None:
            lines.append(f"{label:<28}{'not installed':>18}")
        else:
            lines.append(f"{label:<28}{found['at once']:>18.1f}{found['one by one']:>12.1f}{found['whole']:>16.0f}")
    lines.append("")
    lines += [
        f"{bar['what']}: {bar['value']:.2f} (bar: {bar['bar']:g}, {'met' if bar['met'] else 'MISSED'})"
        for bar in result["bars"]
    ]
    for title in (f"{STREAMS} streams", "kilobytes beyond the text"):
        lines += ["", title, *[f"  {what}: {value:.3g}" for what, value in result[title].items()]]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
