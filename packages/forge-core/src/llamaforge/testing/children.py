"""The processes that this one has started, and those that they have. Linux tells of them; elsewhere none is seen."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

MARK: Final = "LLAMAFORGE_CONFORMANCE"
"""An environment variable that descendants inherit, so that those whose parent has ended are known, too."""


def can_be_seen() -> bool:
    """Whether the system tells of processes."""
    return Path("/proc/self/stat").exists()


def descendants(mark: str) -> dict[int, str]:
    """The processes that descend from this one, or were started with *mark* as the variable MARK: id and command."""
    parents: dict[int, int] = {}
    marked: set[int] = set()
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            state, parent = Path(folder, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
            if state in "ZX":  # it has ended, and nobody has asked how
                continue
            parents[int(folder.name)] = int(parent)
            if wanted in Path(folder, "environ").read_bytes().split(b"\0"):
                marked.add(int(folder.name))
    own = os.getpid()
    found = marked - {own}
    grown = True
    while grown:
        more = {child for child, parent in parents.items() if parent == own or parent in found} - found
        found |= more
        grown = bool(more)
    return {child: _command(child) for child in sorted(found)}


def _command(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(process), "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return ""
