"""The lines typed in former chats, for the arrow keys: a file in the user's state folder, for its owner's eyes only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..files import atomic_file, check_regular, file_lock, is_null_device
from .failures import say

VARIABLE: Final = "LLAMAFORGE_HISTORY"
"""The environment variable that names another file; the null device: none is kept."""

_LINES: Final = 1000
_TIMEOUT: Final = 2.0
"""Seconds to wait for another chat that writes the file."""


def history_file() -> Path:
    """Where the lines are kept."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_state_dir("llamaforge", appauthor=False)) / "history"


@contextlib.contextmanager
def line_editing() -> Iterator[None]:
    """Let ``input()`` edit lines and know those of former chats, where Python has readline; keep the new ones.

    A file that can't be read or written is told of and harms nothing else.
    """
    try:
        import readline  # importing it is what makes input() edit lines
    except ImportError:
        yield
        return
    path = history_file()
    if is_null_device(path):
        yield
        return
    try:
        for line in _read(path):
            readline.add_history(line)
    except OSError as error:
        _tell("read", path, error)
    before = readline.get_current_history_length()
    try:
        yield
    finally:
        typed = [readline.get_history_item(index + 1) for index in range(before, readline.get_current_history_length())]
        try:
            _append(path, [line for line in typed if line])
        except OSError as error:
            _tell("written", path, error)


def _read(path: Path) -> list[str]:
    check_regular(path)
    try:
        return path.read_bytes().decode("utf-8", errors="replace").splitlines()[-_LINES:]
    except FileNotFoundError:
        return []


def _append(path: Path, lines: list[str]) -> None:
    if not lines:
        return
    check_regular(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file_lock(path.with_name(f".{path.name}.lock"), _TIMEOUT):
        kept = [*_read(path), *(line for each in lines for line in each.splitlines())][-_LINES:]
        with atomic_file(path, private=True) as file:
            file.write("".join(f"{line}\n" for line in kept).encode("utf-8", errors="replace"))


def _tell(done: str, path: Path, error: OSError) -> None:
    say(f"Note: the history {path} can't be {done}: {error.strerror or error}. {VARIABLE} names another file.")
