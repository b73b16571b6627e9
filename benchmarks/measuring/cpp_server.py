"""llama.cpp's own C++ server (xllamacpp), and clients for it; each side in a process of its own.

Run as a script it is the server or the clients: settings come as one line of JSON on standard input, which then stays
open as a lifeline. So the clients' Python takes no time from the process that measures, and two builds of llama.cpp
never meet in one process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SELF = Path(__file__).resolve()


class CppServer:
    """The server with *slots* slots of *context* tokens each, and clients that stream from it over loopback."""

    def __init__(self, gguf: Path, slots: int, context: int, threads: int) -> None:
        settings = {"gguf": str(gguf), "slots": slots, "context": context, "threads": threads}
        self._server = start([str(SELF), "server"], settings)
        said = read(self._server)
        self.port: int = said["port"]
        self.instruction_sets: str = said["instruction_sets"]
        self._clients = start([str(SELF), "clients"], {"port": said["port"], "callers": slots})

    def answer(self, requests: Iterable[tuple[str, int, float]]) -> tuple[int, float]:
        """Ask all of it: prompts as text, how long the answers may be, delays. Tokens of the answers, and seconds."""
        write(self._clients, list(requests))
        said = read(self._clients)
        return said["tokens"], said["seconds"]

    def close(self) -> None:
        """End both processes."""
        for process in (self._clients, self._server):
            process.stdin.close()
            process.wait(30)


def start(arguments: Iterable[str], settings: dict[str, Any]) -> Any:
    """A process of Python, which reads its *settings*."""
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=SELF.parents[1])
    write(process, settings)
    return process


def write(process: Any, value: Any) -> None:
    """Tell it *value*, in a line of JSON."""
    process.stdin.write(json.dumps(value).encode() + b"\n")
    process.stdin.flush()


def read(process: Any) -> Any:
    """What it says next. Raises RuntimeError where it has ended."""
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"The process ended with {process.wait()}; what it said stands above.")
    return json.loads(line)


# What follows runs in the child processes.


def serve(settings: dict[str, Any], say: Any) -> None:
    """Be the server until standard input closes."""
    import xllamacpp  # type: ignore[import-untyped]

    params = xllamacpp.CommonParams()
    params.model.path = settings["gguf"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = settings["slots"] * settings["context"]
    params.n_parallel = settings["slots"]
    params.cache_ram_mib = 0  # prompts differ: nothing to gain from it
    params.verbosity = 1  # errors alone: a line for each request is work, too
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    server = xllamacpp.Server(params)
    say(
        {
            "port": int(server.listening_address.rsplit(":", 1)[1]),
            "instruction_sets": xllamacpp.get_system_info(),
        }
    )
    os.read(0, 1)
    os._exit(0)


def ask(settings: dict[str, Any], say: Any) -> None:
    """Be the clients: each line on standard input is a round's work."""
    import http.client
    import time

    def answer(prompt: str, max_tokens: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", settings["port"], timeout=600)
        body = {"prompt": prompt, "n_predict": max_tokens, "temperature": 0, "stream": True}
        connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        last = b""
        while line := response.readline():  # each is looked at no further: a client can't be leaner
            if line.startswith(b"data: "):
                last = line
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"The server answered {response.status}.")
        end = json.loads(last[6:])
        # It counts the token that ends an answer, too.
        return int(end["tokens_predicted"]) - (end["stop_type"] == "eos")

    for line in sys.stdin:
        work = iter(json.loads(line))
        lock = threading.Lock()
        counts: list[int] = []
        start = time.perf_counter()

        def caller(work: Any = work, start: float = start, counts: list[int] = counts, lock: Any = lock) -> None:
            while True:
                with lock:
                    request = next(work, None)
                if request is None:
                    return
                prompt, max_tokens, delay = request
                time.sleep(max(0.0, start + delay - time.perf_counter()))
                counts.append(answer(prompt, max_tokens))

        with ThreadPoolExecutor(settings["callers"]) as pool:
            for done in [pool.submit(caller) for _ in range(settings["callers"])]:
                done.result()
        say({"tokens": sum(counts), "seconds": time.perf_counter() - start})


def main() -> None:
    """Be what the first argument says."""
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what llama.cpp prints is no report

    def say(value: Any) -> None:
        report.write(json.dumps(value) + "\n")
        report.flush()

    settings = json.loads(_first_line())
    {"server": serve, "clients": ask}[sys.argv[1]](settings, say)


def _first_line() -> bytes:
    """One line, and not a byte more: the rest is another reader's."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            raise SystemExit
        line += piece
    return line


if __name__ == "__main__":
    main()
