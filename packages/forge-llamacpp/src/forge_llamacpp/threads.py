"""How many threads to compute with."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Physical cores that this process may use: its affinity and, in a container, its quota count.

    llama.cpp's threads wait for each other actively, so that one too many costs more than one too few.
    """
    if not hasattr(os, "sched_getaffinity"):
        # No way to ask: on Windows half of the processors are hyper-threads, on Apple's about half are slow cores.
        return max(1, (os.cpu_count() or 2) // 2)
    processors = os.sched_getaffinity(0)
    # Processors that share a core name the same siblings.
    cores = {_siblings(number) or str(number) for number in processors}
    return max(1, min(len(cores), _quota() or len(cores)))


def _siblings(number: int) -> str:
    try:
        return (_TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list").read_text()
    except OSError:
        return ""


def _quota() -> int | None:
    """Whole processors of a container's quota (cgroup v2: "quota period", in microseconds), or None."""
    try:
        quota, _, period = _QUOTA.read_text().partition(" ")
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None
