"""The machine and the programs that a figure comes from."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import platform
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = (
    "forge-bench",
    "forge-core",
    "forge-hf",
    "forge-llamacpp",
    "forge-openai",
    "forge-serve",
    "forge-tgi",
    "forge-vllm",
    "httptools",
    "llama-cpp-python",
    "msgspec",
    "numpy",
    "torch",
    "transformers",
    "vllm",
)


def capture() -> dict[str, Any]:
    """Processor, memory, cards, versions, git state and load, as far as this system tells them."""
    return {
        "time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "processors_usable": _usable(),
        "memory_bytes": _memory(),
        "cards": _cards(),
        "python": sys.version.split()[0],
        "packages": _versions(),
        "git": _git(),
        "load_average": capture_load(),
    }


def _usable() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _cards() -> list[str]:
    """Names, memory and drivers of NVIDIA's cards; what other cards there are, the engine's settings tell."""
    said = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    return [line.strip() for line in (said or "").splitlines() if line.strip()]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _git() -> dict[str, Any] | None:
    """Commit and state of the repository of the current folder, if it is in one."""
    commit = _output("git", "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "changed": bool((_output("git", "status", "--porcelain") or "").strip())}


def capture_load() -> list[float] | None:
    """The load averages of 1, 5 and 15 minutes, if the system tells them."""
    try:
        return list(os.getloadavg())
    except OSError:
        return None


def _output(*command: str) -> str | None:
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
