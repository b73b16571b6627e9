"""What serving costs: time of a chunk, requests a second, disconnects, memory, models that don't fit together.

    hatch run bench:serve
    hatch run bench:serve --quick --case chunks

The server runs in a process of its own, over a backend that computes nothing, so that what is left is the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from measuring.burst_server import CHAT, Burst, server
from measuring.while_loading import beside_loads_elsewhere, while_loading

from llamaforge import LlamaForge
from llamaforge.backends.registry import register_backend


def turn(said: str, model: str = "a", *, stream: bool = False) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": said}], "stream": stream}


def head(content: bytes) -> bytes:
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (CHAT.encode(), len(content)) + content
    )


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of one answer, which has a length."""
    top = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in top.lower().split(b"\r\n") if line.startswith(b"content-length"))
    return int(top[9:12]), await reader.readexactly(int(length.partition(b":")[2]))


async def streamed(port: int, words: int, pause: float = 0.0) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head(json.dumps(turn(f"{words} {pause}", stream=True)).encode()))
    last = b""
    while b"[DONE]" not in last[-40:]:
        part = await reader.read(1 << 16)
        if not part:
            raise ConnectionError("the stream was cut")
        last = (last + part)[-100:]
    writer.close()


def processor_time(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


async def own(streams: int, words: int, pause: float) -> float:
    """Processor time of a chunk of the backend alone, read in an event loop."""
    backend = Burst()
    backend.load_model("a")

    async def read() -> None:
        async with backend.achat_stream([{"role": "user", "content": f"{words} {pause}"}]) as stream:
            async for _ in stream.events():
                pass

    begun = time.process_time()
    await asyncio.gather(*(read() for _ in range(streams)))
    return (time.process_time() - begun) / (streams * words)


def chunks(quick: bool) -> dict[str, float]:
    """Processor time of a streamed chunk above the backend's own, in microseconds: a chunk each millisecond, all
    streams together, and as fast as it goes."""
    found = {}
    for streams, pause in ((1, 0.001), (32, 0.032), (1, 0.0), (32, 0.0)):
        words = (1_000 if quick else 5_000) // (1 if streams == 1 else 16 if pause else 4)
        rounds = []
        with server() as (port, process):
            asyncio.run(streamed(port, 100))
            for _ in range(3):
                begun = processor_time(process)

                async def ask(
                    streams: int = streams, words: int = words, port: int = port, pause: float = pause
                ) -> None:
                    await asyncio.gather(*(streamed(port, words, pause) for _ in range(streams)))

                asyncio.run(ask())
                ours = (processor_time(process) - begun) / (streams * words)
                rounds.append(ours - asyncio.run(own(streams, words, pause)))
        pace = "a chunk each ms" if pause else "at full speed"
        found[f"us a chunk, {streams} stream{'s' if streams > 1 else ''}, {pace}"] = round(
            statistics.median(rounds) * 1e6, 1
        )
    return found


def validation(quick: bool) -> dict[str, float]:
    """Requests a second that end at validation, beside plain Starlette that does the same."""
    count = 2_000 if quick else 20_000
    rates: dict[str, float] = {}
    costs: dict[str, float] = {}

    async def flood(port: int, count: int) -> None:
        async def ask() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(count // 8):
                writer.write(head(b'{"messages": []}'))
                status, _ = await answer(reader)
                assert status == 400
            writer.close()

        await asyncio.gather(*(ask() for _ in range(8)))

    for kind in ("plain", "ours"):
        with server(kind) as (port, process):
            asyncio.run(flood(port, 400))
            begun, used = time.perf_counter(), processor_time(process)
            asyncio.run(flood(port, count))
            rates[kind] = count / (time.perf_counter() - begun)
            costs[kind] = (processor_time(process) - used) / count
    return {
        "requests a second": round(rates["ours"]),
        "of plain Starlette's": round(rates["ours"] / rates["plain"], 2),
        "us a request": round(costs["ours"] * 1e6),
        "us a request, plain Starlette": round(costs["plain"] * 1e6),
    }


def start(quick: bool) -> dict[str, float]:
    """Importing the application: processor time above bare Python's; seconds from the command to the first answer.

    With bytecode, as pip leaves it, also where the environment forbids Python to write it."""

    def spent(code: str) -> float:
        command = [sys.executable, "-c", f"import time\n{code}\nprint(time.process_time())"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return float(done.stdout)

    rounds = 3 if quick else 7
    with tempfile.TemporaryDirectory() as bytecode:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        spent("import forge_serve")
        imported = statistics.median(spent("import forge_serve") for _ in range(rounds))
        core = statistics.median(spent("import llamaforge.forge") for _ in range(rounds))
        loop = statistics.median(spent("import asyncio, starlette.applications") for _ in range(rounds))
        bare = statistics.median(spent("pass") for _ in range(rounds))
    ready = []
    for _ in range(rounds):
        begun = time.perf_counter()
        with server() as (port, _):
            asyncio.run(streamed(port, 1))
            ready.append(time.perf_counter() - begun)
    return {
        "ms of processor time to import": round((imported - bare) * 1e3),
        "of which core, with asyncio": round((core - bare) * 1e3),
        "asyncio and Starlette alone": round((loop - bare) * 1e3),
        "s to the first answer": round(statistics.median(ready), 2),
    }


def disconnects(quick: bool) -> dict[str, float]:
    """Milliseconds from a client's leaving until the engine is told: streamed, and not, before the first token."""
    import threading

    import uvicorn

    from forge_serve import ServeConfig, create_app

    register_backend("burst", Burst, replace=True)
    found = {}
    with tempfile.TemporaryDirectory() as folder, LlamaForge(Path(folder) / "models.toml") as forge:
        forge.add_model("a", "a", backend="burst")
        config = uvicorn.Config(create_app(forge, ServeConfig()), port=0, log_level="error", http="httptools")
        running = uvicorn.Server(config)
        threading.Thread(target=running.run, daemon=True).start()
        while not running.started:
            time.sleep(0.01)
        port = running.servers[0].sockets[0].getsockname()[1]
        for name, said, stream in (
            ("amid a stream", "wait streaming", True),
            ("before the first token", "wait", True),
            ("not streamed", "wait", False),
        ):
            delays = sorted(_leave(port, turn(said, stream=stream)) for _ in range(50 if quick else 500))
            found[f"{name}, p50 ms"] = round(delays[len(delays) // 2] * 1e3, 2)
            found[f"{name}, p99 ms"] = round(delays[int(len(delays) * 0.99)] * 1e3, 2)
        running.should_exit = True
    return found


def _leave(port: int, content: dict[str, Any]) -> float:
    import socket

    Burst.told.clear()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head(json.dumps(content).encode()))
        while not Burst.waiting:
            time.sleep(0.0005)
        time.sleep(0.002)
        begun = time.perf_counter()
    while not Burst.told:
        time.sleep(0.0001)
    return Burst.told[0] - begun


def memory(quick: bool) -> dict[str, float]:
    """Kilobytes of an open stream: 1,000 that wait and 200 that are answered."""
    idle, active = (200, 40) if quick else (1000, 200)

    async def load(port: int, process: psutil.Process) -> tuple[float, int]:
        await streamed(port, 10)
        before = process.memory_info().rss
        writers = []
        for _ in range(idle):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head(json.dumps(turn("wait streaming", stream=True)).encode()))
            await reader.readuntil(b"begun")
            writers.append(writer)
        waiting = process.memory_info().rss
        results = await asyncio.gather(*(streamed(port, 200) for _ in range(active)), return_exceptions=True)
        after = process.memory_info().rss
        for writer in writers:
            writer.close()
        failed = sum(isinstance(result, BaseException) for result in results)
        return max(waiting - before, after - before) / 1000 / (idle + active), failed

    with server() as (port, process):
        each, failed = asyncio.run(load(port, process))
    return {"kB a stream": round(each, 1), "failed": failed}


def mixed(quick: bool) -> dict[str, float]:
    """Requests to three models with room for two, streamed and not: how many were cut, mixed up or refused."""
    count = 600 if quick else 10_000

    async def flood(port: int) -> int:
        bad, numbers = 0, iter(range(count))

        async def ask() -> None:
            nonlocal bad
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in numbers:
                model = "abc"[number % 7 % 3]
                writer.write(head(json.dumps(turn(f"{number % 5}", model)).encode()))
                status, content = await answer(reader)
                wanted = "".join(f" word{each}" for each in range(number % 5)) + f" {model}"
                told = json.loads(content)
                bad += status != 200 or told["choices"][0]["message"]["content"] != wanted
            writer.close()

        await asyncio.gather(*(ask() for _ in range(24)))
        return bad

    with server() as (port, _):
        begun = time.perf_counter()
        bad = asyncio.run(flood(port))
    return {"requests": count, "cut, mixed up or refused": bad, "seconds": round(time.perf_counter() - begun, 1)}


def llama_server(quick: bool) -> dict[str, float]:
    """Tokens a second that 8 HTTP clients get of SmolLM2-135M-Instruct (Q4_1), beside llama.cpp's own server with 8
    slots. Both get the same prompts, greedily, in trials of forge-bench that take turns; the ratio is the median of the
    trials'."""
    import itertools
    from contextlib import closing

    from measuring import ours, under_load
    from measuring.cpp_server import CppServer
    from measuring.load import Ask, asks
    from measuring.work import Row

    from forge_bench import Benchmark

    threads = psutil.cpu_count(logical=True) or 1

    def requests(number: int) -> list[Ask]:
        length = {"longest": 32, "texts": False} if quick else {}
        asked = itertools.islice(asks(number, **length), 16)  # type: ignore[arg-type]
        return [
            Ask(f"<|im_start|>user\n{ask.prompt}<|im_end|>\n<|im_start|>assistant\n", ask.max_tokens) for ask in asked
        ]

    def benchmark(port: int) -> Benchmark:
        address, rounds = f"http://127.0.0.1:{port}", [*map(requests, range(1 if quick else 5)), requests(100)]
        return under_load.benchmark(address, rounds, 8, raw=True, model="m", warmup=8)

    row = Row("8 HTTP clients", "llama-server, 8 slots", "tokens/s", 1.0)
    gguf = ours.gguf()
    with server(f"{threads}:{gguf}") as (port, _), closing(CppServer(gguf, 8, 1024, threads)) as peer:
        mine, theirs = asyncio.run(Benchmark.run_together([benchmark(port), benchmark(peer.port)]))
    row.ours = under_load.rates(mine)
    row.theirs = under_load.rates(theirs, counts_end=True)
    return {
        "tokens/s": round(statistics.median(row.ours), 1),
        "tokens/s of llama-server": round(statistics.median(row.theirs), 1),
        "ratio": round(row.ratio, 3),
        "ratio, lowest round": round(min(row.ratios), 3),
        "ratio, highest round": round(max(row.ratios), 3),
    }


CASES: dict[str, Callable[[bool], dict[str, float]]] = {
    "chunks": chunks,
    "validation": validation,
    "start": start,
    "disconnects": disconnects,
    "memory": memory,
    "mixed": mixed,
    "loading": while_loading,
    "loading-elsewhere": beside_loads_elsewhere,
    "llama-server": llama_server,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; repeatable")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    options = parser.parse_args()
    os.environ["LLAMAFORGE_CONFIG"] = os.devnull
    for name in options.case or CASES:
        gc.collect()
        for what, value in CASES[name](options.quick).items():
            print(f"{name:12} {what:44} {value:>10}", flush=True)


if __name__ == "__main__":
    main()
