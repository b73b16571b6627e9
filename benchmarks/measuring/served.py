"""`llamaforge serve` in a process of its own, as a user starts it, and requests to it over bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil


@dataclass
class Served:
    """A server that runs."""

    port: int
    process: psutil.Process
    log: Path
    """What it writes."""

    def unforeseen(self) -> str:
        """Where its log tells of an error that nobody foresaw, and what follows; nothing if it tells of none."""
        written = self.log.read_text(errors="replace")
        places = [written.find(mark) for mark in ("Traceback", "unexpectedly") if mark in written]
        return written[min(places) - 200 :][:5000] if places else ""

    @property
    def runs(self) -> bool:
        """Whether it still does."""
        return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE

    async def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of one answer; with *body* a POST."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        try:
            content = b"" if body is None else json.dumps(body).encode()
            writer.write(framed(path, content, "GET" if body is None else "POST", *headers.items()))
            status, _, told = await read_answer(reader)
            return status, json.loads(told)
        finally:
            writer.close()

    async def held(self, patience: float = 120.0) -> list[str]:
        """The models that requests still run in, once the seconds are over that they have to end."""
        end = time.monotonic() + patience
        while True:
            _, told = await self.ask("/admin/models")
            held = [card["id"] for card in told["data"] if card["requests"] or card["running"]]
            if not held or time.monotonic() > end:
                return held
            await asyncio.sleep(0.1)


@contextlib.contextmanager
def serving(folder: Path, models: str, *arguments: str) -> Iterator[Served]:
    """A server over the models of that TOML text, with those arguments."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server ends with whoever is told to end
    (folder / "models.toml").write_text(models)
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "llamaforge", "serve", *arguments, "--port", "0"],
            env=os.environ | {"LLAMAFORGE_CONFIG": str(folder / "models.toml"), "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        while (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())) is None:
            if process.poll() is not None:
                raise SystemExit(f"The server ended: {log.read_text()}")
            time.sleep(0.05)
        yield Served(int(found[1]), psutil.Process(process.pid), log)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def framed(path: str, content: bytes, method: str = "POST", *headers: tuple[str, str]) -> bytes:
    """A request's bytes. A header that is given replaces the sound one."""
    told = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(content))}
    if any(name == "Transfer-Encoding" for name, _ in headers):
        del told["Content-Length"]
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (told | dict(headers)).items())]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n\r\n" + content


async def read_answer(reader: asyncio.StreamReader, *, head_only: bool = False) -> tuple[int, bool, bytes]:
    """One answer: its status, whether the connection ends with it, and its body."""
    status, head = await read_head(reader)
    closes = b"\r\nconnection: close" in head
    if head_only or status in (204, 304):
        return status, closes, b""
    length = re.search(rb"\r\ncontent-length: (\d+)", head)
    if length is not None:
        return status, closes, await reader.readexactly(int(length[1]))
    content = b""
    while True:
        part = await read_chunk(reader)
        if not part:
            return status, closes, content
        content += part


async def read_head(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and headers, in lower case."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    return int(head[9:12]), head


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """The next chunk of a stream; nothing at its end."""
    size = int(await reader.readuntil(b"\r\n"), 16)
    return (await reader.readexactly(size + 2))[:-2]
