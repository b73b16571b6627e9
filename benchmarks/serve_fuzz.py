"""Made-up bodies, headers and bytes for `llamaforge serve`: no 500, no hang, and the server lives.

    hatch run bench:serve-fuzz --count 100000
    hatch run bench:serve-fuzz --first 25000 --count 25000     a piece of that

The server runs as a user starts it, in a process of its own, over a small random model on llama.cpp and echoes for
text, vectors and rankings. Each request has a number, which makes it: `--first 4711 --count 1` sends that one again.

The server's memory is told after each quarter. The first few thousand requests take some 25 MiB for good: modules that
are imported with the first use, and malloc's arenas. What later ones add is stored responses, up to `--store-size`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from measuring.odd_requests import Sent, request
from measuring.served import Served, read_answer, serving

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 120.0
"""Seconds in which each request must have its answer, on a machine that may be busy."""
STATUSES = {200, 304, 400, 401, 403, 404, 405, 408, 411, 413, 415, 429, 431, 503, 504}
"""What a server may answer to what a client did."""
UNFORESEEN = b"failed unexpectedly"
"""What the answer has of an error that nobody foresaw."""
MODELS = """
[models.echo]
path = "echo"
backend = "echo"
parameters = { n_ctx = 256 }
[models.embed]
path = "echo"
backend = "echo"
parameters = { task = "embed", n_ctx = 64 }
[models.rerank]
path = "echo"
backend = "echo"
parameters = { task = "rerank", n_ctx = 64 }
[models.tiny]
path = "tiny.gguf"
parameters = { n_ctx = 256, n_parallel = 8, n_threads = 1 }
"""


ARGUMENTS = (
    *("echo", "embed", "rerank", "tiny", "--access-log", "off"),
    *("--read-timeout", "1", "--write-timeout", "5", "--max-body", "200kB"),
)


class Finding(Exception):
    """A request whose answer is none that it may have."""


class Client:
    """Sends one request after another, on one connection as long as it holds."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, sent: Sent) -> int:
        """Its answer's status; 0: the server ended the connection without one. Raises Finding."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await (self._whole(sent) if sent.whole else self._loose(sent))
        except TimeoutError:
            await self.close()
            raise Finding("no answer") from None

    async def close(self) -> None:
        """End the connection."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    async def _whole(self, sent: Sent) -> int:
        """A request on the connection that is open, and its whole answer."""
        for _ in range(2):
            if self._open is None:
                self._open = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
            reader, writer = self._open
            try:
                writer.write(sent.content)
                status, closes, content = await read_answer(reader, head_only=sent.head_only)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                await self.close()
                if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                    raise Finding(f"half an answer: {error.partial[:200]!r}") from None
                continue  # the server had ended it meanwhile
            if closes:
                await self.close()
            _judge(status, content, head_only=sent.head_only)
            return status
        raise Finding("no answer, twice")

    async def _loose(self, sent: Sent) -> int:
        """Bytes on a connection of their own, and whatever comes until nothing more does."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        told = b""
        try:
            writer.write(sent.content)
            while part := await _some(reader, 0.05 if told else None):
                told += part
        except ConnectionError:
            pass  # the server cut it off, as it may
        finally:
            writer.close()
        if UNFORESEEN in told:
            raise Finding(f"{told[:300]!r}")
        if not told:
            return 0
        if not re.match(rb"HTTP/1\.1 \d{3} ", told):
            raise Finding(f"no HTTP: {told[:200]!r}")
        statuses = [int(found) for found in re.findall(rb"(?:^|\n|\})HTTP/1\.1 (\d{3}) ", told)]
        for status in statuses:
            if status != 100 and status not in STATUSES:
                raise Finding(f"status {status}: {told[:300]!r}")
        return statuses[-1]


async def _some(reader: asyncio.StreamReader, patience: float | None) -> bytes:
    """What comes next; nothing after so many seconds without."""
    try:
        async with asyncio.timeout(patience):
            return await reader.read(1 << 16)
    except TimeoutError:
        return b""


def _judge(status: int, content: bytes, *, head_only: bool) -> None:
    if status not in STATUSES or UNFORESEEN in content:
        raise Finding(f"status {status}: {content[:300]!r}")
    if status >= 400 and not head_only:
        try:
            told = json.loads(content)["error"]
        except (ValueError, KeyError, TypeError):
            raise Finding(f"status {status} without an error that clients read: {content[:200]!r}") from None
        if not (told if isinstance(told, str) else told["message"]):
            raise Finding(f"status {status} says nothing")


async def fuzz(port: int, first: int, count: int, seed: int, clients: int) -> tuple[Counter[int], list[str]]:
    """Send them: how many had which status, and what was found."""
    statuses: Counter[int] = Counter()
    found: list[str] = []
    numbers = iter(range(first, first + count))

    async def work() -> None:
        client = Client(port)
        for number in numbers:
            sent = request(number, seed)
            try:
                statuses[await client.send(sent)] += 1
            except (Finding, ConnectionError) as finding:
                found.append(f"{number}: {finding!r}\n    {sent.content[:400]!r}")
                print(found[-1], flush=True)
        await client.close()

    await asyncio.gather(*(work() for _ in range(clients)))
    return statuses, found


async def quarters(server: Served, options: argparse.Namespace) -> tuple[Counter[int], list[str], list[int]]:
    """Send them in four parts: statuses and findings of all, and the server's memory after each part."""
    statuses: Counter[int] = Counter()
    found: list[str] = []
    memory: list[int] = []
    ends = [options.count * part // 4 for part in range(5)]
    for begin, end in itertools.pairwise(ends):
        told, wrong = await fuzz(server.port, options.first + begin, end - begin, options.seed, options.clients)
        statuses.update(told)
        found += wrong
        if not server.runs:
            break
        memory.append(server.process.memory_info().rss)
    return statuses, found, memory


async def afterwards(server: Served) -> list[str]:
    """What is wrong with a server that had all that: it must answer, and hold nothing."""
    wrong = []
    asked = {"model": "echo", "messages": [{"role": "user", "content": "Still there?"}]}
    for path, body in (("/health", None), ("/v1/chat/completions", asked)):
        status, _ = await server.ask(path, body)
        if status != 200:
            wrong.append(f"afterwards {path} has the status {status}")
    held = await server.held(PATIENCE)
    if held:
        wrong.append(f"afterwards requests still run: {held}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first request")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=32)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from support.gguf_files import make_tiny_gguf

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = MODELS.replace("tiny.gguf", str(make_tiny_gguf(folder / "tiny.gguf")))
        with serving(folder, models, *ARGUMENTS) as server:
            asyncio.run(fuzz(server.port, 0, 50, options.seed, 8))  # models are loaded now
            before = server.process.memory_info().rss
            begun = time.monotonic()
            statuses, found, grown = asyncio.run(quarters(server, options))
            seconds = time.monotonic() - begun
            if not server.runs:
                found.append("the server has ended")
            else:
                found += asyncio.run(afterwards(server))
                told = ", ".join(f"{(memory - before) / 2**20:+.0f}" for memory in grown)
                print(f"{sum(statuses.values())} requests in {seconds:.0f} s; memory after each quarter: {told} MiB")
            print(", ".join(f"{status or 'no answer'}: {count}" for status, count in sorted(statuses.items())))
            unforeseen = server.unforeseen()
            if unforeseen:
                found.append("the log has an error that nobody foresaw")
                print(unforeseen)
    print(f"{len(found)} findings")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
