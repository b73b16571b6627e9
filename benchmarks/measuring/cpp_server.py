"""llama.cpp's own C++ server (xllamacpp), in a process of its own.

Run as a script it is the server: settings come as one line of JSON on standard input, which then stays open as a
lifeline. So two builds of llama.cpp never meet in one process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SELF = Path(__file__).resolve()


class CppServer:
    """The server with *slots* slots of *context* tokens each."""

    def __init__(self, gguf: Path, slots: int, context: int, threads: int) -> None:
        settings = {"gguf": str(gguf), "slots": slots, "context": context, "threads": threads}
        self._server = start([str(SELF)], settings)
        said = read(self._server)
        self.port: int = said["port"]
        self.address = f"http://127.0.0.1:{self.port}"
        self.instruction_sets: str = said["instruction_sets"]

    def close(self) -> None:
        """End the process."""
        self._server.stdin.close()
        self._server.wait(30)


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


def main() -> None:
    """Be the server."""
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what llama.cpp prints is no report

    def say(value: Any) -> None:
        report.write(json.dumps(value) + "\n")
        report.flush()

    serve(json.loads(_first_line()), say)


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
