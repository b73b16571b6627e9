"""What is measured of this process: output, memory, open files, threads, waits of an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import io
import logging
import os
import re
import sys
import tempfile
import threading
import time
import tracemalloc
import warnings
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

TICK: Final = 0.005
"""Seconds between two ticks of the loop that is watched."""


class Output:
    """What went to standard output and standard error."""

    text = ""


@contextlib.contextmanager
def captured_output() -> Iterator[Output]:
    """What this block prints: Python code, and native code that writes to the file descriptors.

    What goes to the log or is warned of is not printed, even if nobody listens and Python shows it.
    """
    output = Output()
    written = io.StringIO()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(_captured(number)) for number in (1, 2)]
        stack.enter_context(contextlib.redirect_stdout(written))
        stack.enter_context(contextlib.redirect_stderr(written))
        stack.enter_context(_told_to_nobody())
        try:
            yield output
        finally:
            sys.stdout.flush()
            for file in files:
                file.seek(0)
            output.text = written.getvalue() + "".join(file.read().decode("utf-8", "replace") for file in files)


@contextlib.contextmanager
def _captured(number: int) -> Iterator[IO[bytes]]:
    """The file that takes what is written to a file descriptor."""
    (sys.stdout if number == 1 else sys.stderr).flush()
    kept = os.dup(number)
    try:
        with tempfile.TemporaryFile() as raw:
            os.dup2(raw.fileno(), number)
            try:
                yield raw
            finally:
                os.dup2(kept, number)
    finally:
        os.close(kept)


@contextlib.contextmanager
def _told_to_nobody() -> Iterator[None]:
    """Python shows log records without a handler, and warnings, on standard error. Here it doesn't."""
    last, logging.lastResort = logging.lastResort, None
    showing, warnings.showwarning = warnings.showwarning, lambda *_, **__: None
    try:
        yield
    finally:
        logging.lastResort, warnings.showwarning = last, showing


@dataclass(frozen=True)
class Usage:
    """What this process holds now. What the system does not tell is 0."""

    memory: int
    """Bytes of memory that were written to and not given back. Pages of mapped files come and go as the system likes:
    they don't count."""
    mapped: int
    """Bytes of the address space where files are mapped, whether they are in memory or not."""
    traced: int
    """Bytes of Python objects, while :func:`traced` is at work."""
    files: int
    """Open file descriptors."""
    threads: int
    """Python threads."""


def usage() -> Usage:
    """Measure, after a garbage collection. What the allocator holds free isn't held by anybody: it goes back first."""
    gc.collect()
    if _malloc_trim is not None:
        _malloc_trim(0)
    return Usage(_memory(), _mapped(), tracemalloc.get_traced_memory()[0], _open_files(), threading.active_count())


_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
"""glibc's; other allocators have none. Each thread has its own arena, and threads of other work may fragment them."""


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """Count the bytes of Python objects that are made in this block."""
    ours = not tracemalloc.is_tracing()
    if ours:
        tracemalloc.start()
    try:
        yield
    finally:
        if ours:
            tracemalloc.stop()


def _memory() -> int:
    return 1024 * sum(map(int, re.findall(rb"^Rss(?:Anon|Shmem):\s*(\d+) kB$", _of_this_process("status"), re.M)))


def _mapped() -> int:
    # Each line: 7f00-7f80 r--s 00000000 fd:00 1234 /a/file. The fifth field is 0 where there is no file.
    files = re.findall(rb"^(\w+)-(\w+) \S+ \S+ \S+ [1-9]", _of_this_process("maps"), re.M)
    return sum(int(end, 16) - int(begin, 16) for begin, end in files)


def _of_this_process(what: str) -> bytes:
    """What Linux tells; elsewhere nothing."""
    try:
        return Path("/proc/self", what).read_bytes()
    except OSError:
        return b""


def _open_files() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return sum(1 for _ in Path(folder).iterdir())
    return 0


async def longest_wait(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Run *work* beside a ticking task. The longest time between two ticks, and the time of all, in seconds."""
    longest, last = 0.0, 0.0

    async def tick() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    began = last = time.perf_counter()
    ticking = asyncio.create_task(tick())
    await asyncio.sleep(2 * TICK)
    longest, began = 0.0, time.perf_counter()
    try:
        await work()
    finally:
        ticking.cancel()
    now = time.perf_counter()
    return max(longest, now - last), now - began
