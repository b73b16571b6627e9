"""Processes seen from outside: is one alive, what came of it. Independent of what is under test."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def alive(process: int) -> bool:
    """Whether *process* exists and is no zombie."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def tree(root: int) -> set[int]:
    """*root* and what came of it."""
    found = {root}
    while True:
        children = {
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and int(entry.name) not in found and _parent(entry) in found
        }
        if not children:
            return found
        found |= children


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return -1


def memory_held() -> int:
    """Bytes of memory that this process has written to and not given back, after a garbage collection; of Linux.

    Pages of mapped files don't count: when memory is scarce the system takes them away, and brings them back when they
    are read.
    """
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return 1024 * sum(map(int, re.findall(r"^Rss(?:Anon|Shmem):\s*(\d+) kB$", status, re.M)))


def survivors(processes: Iterable[int], within: float = 5.0) -> set[int]:
    """Those of *processes* that are still alive after *within* seconds; empty as soon as none is."""
    left = set(processes)
    eventually(lambda: not any(map(alive, left)), within)
    return {each for each in left if alive(each)}


def eventually(condition: Callable[[], object], within: float = 30.0) -> bool:
    """Whether *condition* comes true within that many seconds."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
