"""How far a batch is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from ..batch_files import Summary
from .failures import say

_EVERY: Final = 30.0
"""Seconds between two lines."""
_REFRESH: Final = 0.2


@contextlib.contextmanager
def shown(total: int | None, *, wanted: bool) -> Iterator[Callable[[Summary], None]]:
    """Show the progress that the function is called with, of *total* rows or of nobody knows how many."""
    if not wanted:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar(total) as advance:
            yield advance
    else:
        yield _Lines(total)


class _Lines:
    """For logs."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._began = self._said = time.monotonic()

    def __call__(self, summary: Summary) -> None:
        now = time.monotonic()
        if now - self._said < _EVERY:
            return
        self._said = now
        say(described(summary, self._total, now - self._began))


def described(summary: Summary, total: int | None, seconds: float) -> str:
    """A line about it: rows, errors, rate and estimate."""
    ended = summary.finished + summary.failed
    done = ended + summary.skipped
    rate = ended / seconds if seconds > 0 else 0.0
    said = [f"{done:,} of {total:,} rows" if total is not None else f"{done:,} rows"]
    if summary.failed:
        said.append(f"{summary.failed:,} failed")
    said.append(f"{rate:.1f} a second")
    if total is not None and rate > 0:
        said.append(f"about {readable_time(max(0, total - done) / rate)} left")
    return ", ".join(said)


def readable_time(seconds: float) -> str:
    """*seconds* for people."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


@contextlib.contextmanager
def _bar(total: int | None) -> Iterator[Callable[[Summary], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("Answering", total=total)
        last = 0.0

        def advance(summary: Summary) -> None:
            nonlocal last
            done = summary.finished + summary.failed + summary.skipped
            now = time.monotonic()
            if now - last < _REFRESH and done != total:
                return
            last = now
            failed = f", {summary.failed:,} failed" if summary.failed else ""
            bar.update(task, completed=done, description=f"Answering{failed}")

        yield advance
