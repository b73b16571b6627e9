"""`llamaforge serve` under clients who come and go, for long: floods, disconnects, evictions, bad bodies, slow senders.

    hatch run bench:serve-soak --minutes 10

Four models, two on llama.cpp and two that echo, have room for two. Each request must end as it may: with its whole
answer, its own and nobody else's; with an error that says when to come again; or, once its stream has begun, with an
error in the stream. Nothing may be cut without a word or take longer than two minutes, and the server's memory,
files and threads may not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring.odd_requests import SOUND, body, request
from measuring.served import Served, framed, read_answer, read_chunk, read_head, serving

ROOT = Path(__file__).resolve().parents[1]
CHAT, MESSAGES, OLLAMA = "/v1/chat/completions", "/v1/messages", "/api/chat"
PATIENCE = 120.0
REFUSED = {429, 503, 504}
"""What a sound request may be told instead of its answer."""
ENDS = {CHAT: b"data: [DONE]", MESSAGES: b"event: message_stop", OLLAMA: b'"done":true'}
"""What ends a stream of each dialect, if it has its answer."""
FAILURES = {CHAT: b'data: {"error"', MESSAGES: b"event: error", OLLAMA: b'{"error"'}
ROOM = 2.5
"""For how many models there is room."""
ARGUMENTS = ("--max-queue", "24", "--max-wait", "20", "--read-timeout", "2", "--idle", "5", "--access-log", "off")


class Wrong(Exception):
    """A request that ended as it may not."""


@dataclass
class Soak:
    """The run: how requests ended, and what went wrong."""

    server: Served
    end: float
    endings: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    """Seconds until the server told its health."""
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection."""
        return await asyncio.open_connection("127.0.0.1", self.server.port, limit=1 << 20)


def question(dice: random.Random) -> tuple[str, str, str, dict[str, Any], str | None]:
    """A sound request: its kind, its path, its model, its body, and the text of its answer if that is known."""
    path = dice.choice((CHAT, MESSAGES, OLLAMA))
    model = dice.choice(("a", "b", "tiny-a", "tiny-b"))
    words = " ".join(str(dice.randrange(10**6)) for _ in range(dice.randint(1, 30)))
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": f"{model} {words}"}]}
    limit = dice.randint(1, 40)
    if path == OLLAMA:
        asked["options"] = {"num_predict": 99 if "tiny" not in model else limit}
    else:
        asked["max_tokens"] = 99 if "tiny" not in model else limit
    return (
        ("stream" if dice.random() < 0.5 else "whole"),
        path,
        model,
        asked,
        None if "tiny" in model else f"{model} {words}",
    )


def text_of(path: str, told: Any) -> str:
    """The text of a whole answer."""
    if path == CHAT:
        return str(told["choices"][0]["message"]["content"])
    if path == MESSAGES:
        return "".join(part["text"] for part in told["content"])
    return str(told["message"]["content"])


def text_of_stream(path: str, told: bytes) -> str:
    """The text of a streamed one."""
    lines = [line.removeprefix(b"data: ") for line in told.splitlines() if line.startswith((b"data: {", b"{"))]
    events = [json.loads(line) for line in lines]
    if path == CHAT:
        return "".join(each["choices"][0]["delta"].get("content") or "" for each in events if each.get("choices"))
    if path == MESSAGES:
        return "".join(each["delta"].get("text", "") for each in events if each["type"] == "content_block_delta")
    return "".join(each["message"]["content"] for each in events)


async def sound(soak: Soak, dice: random.Random) -> str:
    """A request that is read to its end."""
    kind, path, _, asked, wanted = question(dice)
    reader, writer = await soak.connect()
    try:
        headers = [("X-Request-Timeout", str(dice.choice((0.001, 0.05, 1))))] if dice.random() < 0.1 else []
        asked["stream"] = kind == "stream"
        writer.write(framed(path, json.dumps(asked).encode(), "POST", *headers))
        if kind == "whole":
            status, _, told = await read_answer(reader)
            if status in REFUSED:
                return f"{kind}: {status}"
            if status != 200:
                raise Wrong(f"status {status}: {told[:200]!r}")
            if wanted is not None and text_of(path, json.loads(told)) != wanted:
                raise Wrong(f"another text than {wanted!r}: {told[:300]!r}")
            return f"{kind}: answered"
        status, head = await read_head(reader)
        if status in REFUSED:
            return f"{kind}: {status}"
        if status != 200:
            raise Wrong(f"status {status}")
        if b"chunked" not in head:
            raise Wrong("no stream")
        told = b""
        while part := await read_chunk(reader):
            told += part
        if FAILURES[path] in told:
            if ENDS[path] in told:
                raise Wrong("a failure that looks like success")
            return f"{kind}: error in the stream"
        if ENDS[path] not in told:
            raise Wrong(f"a stream without an end: {told[-200:]!r}")
        if wanted is not None and text_of_stream(path, told) != wanted:
            raise Wrong(f"another text than {wanted!r}: {told[-300:]!r}")
        return f"{kind}: answered"
    finally:
        writer.close()


async def leaves(soak: Soak, dice: random.Random) -> str:
    """One whose client goes: before, amid or after the headers, the body, the stream."""
    _, path, _, asked, _ = question(dice)
    content = framed(path, json.dumps({**asked, "stream": dice.random() < 0.7}).encode())
    reader, writer = await soak.connect()
    writer.write(content[: dice.choice((0, 10, len(content) - 5, *[len(content)] * 5))])
    await asyncio.sleep(dice.choice((0, 0, 0.01, 0.1)))
    if dice.random() < 0.5:
        try:
            async with asyncio.timeout(0.2):
                await reader.read(dice.choice((1, 500)))
        except TimeoutError:
            pass
    if dice.random() < 0.5:
        writer.transport.abort()
    else:
        writer.close()
    return "left"


async def slow(soak: Soak, dice: random.Random) -> str:
    """One that is never sent to its end: it is told so, or its connection ends."""
    _, path, _, asked, _ = question(dice)
    content = framed(path, json.dumps(asked).encode())
    reader, writer = await soak.connect()
    try:
        writer.write(content[: dice.choice((20, len(content) - 5))])
        status, _, _ = await read_answer(reader)
    finally:
        writer.close()
    if status != 408:
        raise Wrong(f"half a request has the status {status}")
    return "slow: 408"


async def bad(soak: Soak, dice: random.Random) -> str:
    """One that is odd; it may even be sound."""
    sent = request(dice.randrange(10**9), 1)
    if not sent.whole or sent.head_only:
        path = dice.choice([path for path in SOUND if not path.startswith(("/admin", "/api/pull"))])
        content = framed(path, body(dice, path).replace(b'"echo"', b'"a"'))
    else:
        content = sent.content
    if b"/admin/" in content[:40]:
        return "bad: none"
    reader, writer = await soak.connect()
    try:
        writer.write(content)
        status, _, told = await read_answer(reader)
    finally:
        writer.close()
    if status >= 500 and status not in REFUSED:
        raise Wrong(f"status {status}: {told[:300]!r}")
    return f"bad: {status}"


async def flood(soak: Soak, dice: random.Random) -> str:
    """Forty requests at once, most of which are too many for one model."""

    async def one() -> str:
        return await sound(soak, dice)

    for ending in await asyncio.gather(*(one() for _ in range(40))):
        soak.endings[f"flood, {ending}"] += 1
    return "flood"


async def administer(soak: Soak, dice: random.Random) -> str:
    """Somebody loads, unloads and pins."""
    what = dice.choice(("load", "unload", "unload", "pin"))
    model = dice.choice(("a", "b", "tiny-a", "tiny-b"))
    asked = {"model": model} | ({"force": dice.random() < 0.3} if what == "unload" else {})
    status, told = await soak.server.ask(f"/admin/{what}", asked)
    if what == "pin":
        await asyncio.sleep(0.5)
        await soak.server.ask("/admin/unpin", {"model": model})
    if status not in (200, 429, 503):
        raise Wrong(f"{what}: status {status}: {told}")
    return f"{what}: {status}"


ACTIONS = ((sound, 20), (leaves, 8), (bad, 8), (slow, 1), (administer, 1), (flood, 0.3))


async def client(soak: Soak, number: int) -> None:
    """One thing after another."""
    dice = random.Random(number)
    while time.monotonic() < soak.end and len(soak.wrong) < 20:
        action = dice.choices([each for each, _ in ACTIONS], [weight for _, weight in ACTIONS])[0]
        try:
            async with asyncio.timeout(PATIENCE):
                soak.endings[await action(soak, dice)] += 1
        except TimeoutError:
            soak.wrong.append(f"{action.__name__}: nothing in {PATIENCE:.0f} s")
        except (Wrong, OSError, EOFError, ValueError, KeyError, IndexError) as error:
            soak.wrong.append(f"{action.__name__} at {time.strftime('%H:%M:%S')}: {error!r}")
        if dice.random() < 0.3:
            await asyncio.sleep(dice.expovariate(10))


async def watch(soak: Soak) -> None:
    """Look at the process, and whether it tells its health."""
    while time.monotonic() < soak.end:
        begun = time.monotonic()
        status, _ = await soak.server.ask("/health")
        soak.health.append(time.monotonic() - begun)
        if status != 200:
            soak.wrong.append(f"/health has the status {status}")
        process = soak.server.process
        soak.memory.append(process.memory_info().rss / 2**20)
        soak.files.append(process.num_fds())
        soak.threads.append(process.num_threads())
        await asyncio.sleep(0.5)


async def run(server: Served, seconds: float, clients: int) -> dict[str, Any]:
    """Soak the server, and say what was seen."""
    soak = Soak(server, time.monotonic() + seconds)
    await asyncio.gather(watch(soak), *(client(soak, number) for number in range(clients)))
    if server.runs:
        held = await server.held()
        if held:
            soak.wrong.append(f"requests still run in {held}")
        for model in ("a", "b", "tiny-a", "tiny-b"):
            asked = {"model": model, "messages": [{"role": "user", "content": "Still there?"}], "max_tokens": 9}
            status, told = await server.ask(CHAT, asked)
            if status != 200:
                soak.wrong.append(f"afterwards {model} has the status {status}: {told}")
    else:
        soak.wrong.append("the server has ended")
    unforeseen = server.unforeseen()
    if unforeseen:
        soak.wrong.append(f"the log has an error that nobody foresaw: {unforeseen}")
    return {
        "requests": sum(soak.endings.values()),
        "endings": dict(sorted(soak.endings.items())),
        "wrong": soak.wrong,
        "health_p99_ms": round(sorted(soak.health)[int(len(soak.health) * 0.99)] * 1e3, 1),
        "memory_mib": [round(soak.memory[len(soak.memory) // 4]), round(soak.memory[-1])],
        "growth_mib": round(growth(soak.memory), 1),
        "growth_files": growth(soak.files),
        "growth_threads": growth(soak.threads),
    }


def growth(values: list[Any]) -> float:
    """By how much the last quarter is above the second."""
    quarter = len(values) // 4
    return (
        float(statistics.median(values[-quarter:]) - statistics.median(values[quarter : 2 * quarter]))
        if quarter
        else 0.0
    )


def models(folder: Path) -> str:
    """The models' file: echoes over files of the size that the others take when they are loaded."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.gguf_files import make_tiny_gguf

    text = ""
    for seed, name in enumerate(("tiny-a", "tiny-b")):
        file = make_tiny_gguf(folder / f"{name}.gguf", seed=seed)
        text += f'[models.{name}]\npath = "{file}"\nparameters = {{ n_ctx = 512, n_parallel = 4, n_threads = 1 }}\n'
    for name in ("a", "b"):
        file = folder / name
        file.touch()
        text += (
            f'[models.{name}]\npath = "{file}"\nbackend = "echo"\nparameters = {{ delay = 0.002, n_parallel = 8 }}\n'
        )
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = models(folder)
        served = ("a", "b", "tiny-a", "tiny-b")
        with serving(folder, text, *served, "--access-log", "off") as server:
            status, card = asyncio.run(server.ask("/admin/load", {"model": "tiny-a"}))
            assert status == 200, card
        size = card["memory"]["total"]
        for each in ("a", "b"):
            with (folder / each).open("wb") as file:
                file.truncate(size)
        with serving(folder, text, *served, *ARGUMENTS, "--memory", str(int(ROOM * size))) as server:
            found = asyncio.run(run(server, options.minutes * 60, options.clients))
    if options.json:
        print(json.dumps(found))
    else:
        for what, value in found.items():
            if what == "endings":
                for ending, count in value.items():
                    print(f"  {ending:<40} {count:>8,}")
            elif what == "wrong":
                print(f"wrong: {len(value)}", *value[:10], sep="\n  ")
            else:
                print(f"{what}: {value}")
    sys.exit(bool(found["wrong"]))


if __name__ == "__main__":
    main()
