"""Worker processes that share the load of one trial, for rates that one process can't send. Servers only.

Parent and worker exchange msgpack messages, each after its length in four bytes, over the worker's standard input and
output. All processes of a machine read one monotonic clock, so the parent names the moment at which a trial begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from typing import BinaryIO, Self

import msgspec

from llamaforge.errors import ConnectionFailedError

from .driver import Plan, Sent, carry_out
from .loop import clock, new_loop
from .targets.server import ServerSettings, ServerTarget


class Job(msgspec.Struct, kw_only=True):
    """What a worker is told for one trial."""

    plan: Plan
    origin: float
    """When it begins, by the clock."""


_encode = msgspec.msgpack.encode
_START = 0.3
"""Seconds that all workers have to read their jobs."""


class Workers:
    """Running workers: ``async with Workers(settings, 4) as workers``."""

    def __init__(self, settings: ServerSettings, count: int) -> None:
        self._settings, self._count = settings, count
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        try:
            for _ in range(self._count):
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "forge_bench.workers",
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
                self._processes.append(process)
                _write(process, _encode(self._settings))
            await asyncio.gather(*map(_read, self._processes))  # each says that it is ready
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            await process.wait()

    async def carry_out(self, plans: Sequence[Plan]) -> list[Sent]:
        """Carry out a plan in each worker, all from one moment on. Raises ConnectionFailedError if a worker ends."""
        origin = clock() + _START + 2e-5 * sum(len(plan.items) for plan in plans)
        used = self._processes[: len(plans)]
        for process, plan in zip(used, plans, strict=True):
            _write(process, _encode(Job(plan=plan, origin=origin)))
        found = await asyncio.gather(*map(_read, used))
        return [msgspec.msgpack.decode(each, type=Sent) for each in found]


def _write(process: asyncio.subprocess.Process, message: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - it is a pipe
    process.stdin.write(len(message).to_bytes(4, "big") + message)


async def _read(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        length = int.from_bytes(await process.stdout.readexactly(4), "big")
        return await process.stdout.readexactly(length)
    except asyncio.IncompleteReadError:
        code = await process.wait()
        raise ConnectionFailedError("a worker process", f"it ended with exit code {code}") from None


def main(source: BinaryIO, target: BinaryIO) -> None:
    """Be a worker, until the parent closes its end."""

    def read() -> bytes | None:
        head = source.read(4)
        return source.read(int.from_bytes(head, "big")) if len(head) == 4 else None

    def answer(message: bytes) -> None:
        target.write(len(message).to_bytes(4, "big") + message)
        target.flush()

    given = read()
    if given is None:
        return
    server = ServerTarget(msgspec.msgpack.decode(given, type=ServerSettings))
    with asyncio.Runner(loop_factory=new_loop) as runner:
        answer(b"ready")
        while (message := read()) is not None:
            job = msgspec.msgpack.decode(message, type=Job)
            answer(_encode(runner.run(carry_out(server, job.plan, job.origin))))
        runner.run(server.close())


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.stdin.buffer, sys.stdout.buffer)
