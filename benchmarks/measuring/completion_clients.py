"""HTTP clients that stream from OpenAI's ``/v1/completions``, in a process of their own.

Run as a module it is the clients: settings come as one line of JSON on standard input, and each further line is a
round's work. So their Python takes no time from the process that measures.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .cpp_server import read, start, write


class CompletionClients:
    """*callers* clients of the server at *port*.

    Args:
        port: the server's, on this machine.
        callers: how many ask at once.
        counts_end: whether the server counts the token that ends an answer.
    """

    def __init__(self, port: int, callers: int, *, counts_end: bool) -> None:
        self._process = start(
            ["-m", "measuring.completion_clients"], {"port": port, "callers": callers, "counts_end": counts_end}
        )

    def rate(self, requests: Iterable[tuple[str, int]]) -> float:
        """Ask all of it: prompts, and how long the answers may be. Tokens of the answers a second."""
        write(self._process, list(requests))
        return float(read(self._process))

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait(30)


def _answer(port: int, prompt: str, max_tokens: int, counts_end: bool) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    body: dict[str, Any] = {"model": "m", "prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    last: list[bytes] = []
    while line := response.readline():  # none is looked at further meanwhile: a client can't be leaner
        if line.startswith(b"data: {"):
            last = [*last[-1:], line]
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"The server answered {response.status}.")
    end, usage = (json.loads(line[6:]) for line in last)
    stopped = end["choices"][0]["finish_reason"] == "stop"
    return int(usage["usage"]["completion_tokens"]) - (stopped and counts_end)


def _round(settings: dict[str, Any], work: Iterator[list[Any]]) -> float:
    lock = threading.Lock()
    counts: list[int] = []
    start = time.perf_counter()

    def caller() -> None:
        while True:
            with lock:
                request = next(work, None)
            if request is None:
                return
            counts.append(_answer(settings["port"], *request, settings["counts_end"]))

    with ThreadPoolExecutor(settings["callers"]) as pool:
        for done in [pool.submit(caller) for _ in range(settings["callers"])]:
            done.result()
    return sum(counts) / (time.perf_counter() - start)


if __name__ == "__main__":
    settings = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        print(json.dumps(_round(settings, iter(json.loads(line)))), flush=True)
