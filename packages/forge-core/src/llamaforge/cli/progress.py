"""What a download looks like: a bar on a terminal, else a line."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any, Self

from .failures import say

_WIDE = 80
"""Columns of a terminal that has room for all of a bar."""


class FetchDisplay:
    """Shows on standard error what is being fetched; pass it as ``progress``.

    It may be called from any thread, and not at all. It can be entered again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._closed = False

    def __call__(self, done: int, total: int | None, what: str, /) -> None:
        """*done* bytes of *total* are there of *what*."""
        with self._lock:
            if self._closed:
                return
            if what not in self._tasks:
                self._tasks[what] = self._begin(done, total, what)
            if self._bars is not None:
                self._bars.update(self._tasks[what], completed=done, total=total)

    def __enter__(self) -> Self:
        with self._lock:
            self._bars, self._tasks, self._closed = None, {}, False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._closed = True
            if self._bars is not None:
                self._bars.stop()

    def _begin(self, done: int, total: int | None, what: str) -> Any:
        if self._bars is None and sys.stderr.isatty():
            self._bars = _bars()
        if self._bars is not None:
            return self._bars.add_task(what, completed=done, total=total)
        say(f"{what} ({readable_size(total)})" if total is not None else what)
        return None


def _bars() -> Any:
    """Bars that are being drawn; None where the terminal can't move its cursor."""
    from rich import progress
    from rich.console import Console
    from rich.table import Column

    console = Console(stderr=True)
    if console.is_dumb_terminal:
        return None
    what = Column(no_wrap=True, overflow="ellipsis", ratio=1 if console.width < _WIDE else None)
    columns: list[Any] = [progress.TextColumn("{task.description}", markup=False, table_column=what)]
    if console.width >= _WIDE:
        columns.append(progress.BarColumn(table_column=Column(min_width=10)))
    columns.append(progress.DownloadColumn(table_column=Column(no_wrap=True)))
    if console.width >= _WIDE:
        columns += [progress.TransferSpeedColumn(), progress.TimeRemainingColumn()]
    bars = progress.Progress(
        *columns, console=console, transient=True, expand=True, redirect_stdout=False, redirect_stderr=False
    )
    bars.start()
    return bars


def readable_size(size: int) -> str:
    """*size* bytes for people, in powers of 1000 as disks and downloads have it."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
