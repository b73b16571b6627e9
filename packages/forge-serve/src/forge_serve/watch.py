"""What happens to models, for those who follow it: changes of state, and the progress of downloads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from llamaforge.sources.spec import Progress

_STEP = 0.25
"""Seconds between two looks."""

_loading: contextvars.ContextVar[str | None] = contextvars.ContextVar("loading", default=None)


class Watch:
    """Collects progress from the threads that load, and tells it to any number of followers.

    Args:
        also: called with all progress, too.
    """

    def __init__(self, also: Progress | None = None) -> None:
        self._also = also
        self._lock = threading.Lock()
        self._progress: dict[str, dict[str, Any]] = {}
        self._at_work: list[str] = []

    def report(self, done: int, total: int | None, what: str) -> None:
        """The progress of a download, from any thread."""
        model = _loading.get()
        with self._lock:
            if model is None and len(self._at_work) == 1:  # a source's own thread
                model = self._at_work[0]
            if model is not None:
                self._progress[model] = {"done": done, "total": total, "what": what}
        if self._also is not None:
            self._also(done, total, what)

    @contextlib.contextmanager
    def loading(self, name: str) -> Iterator[None]:
        """Progress that this thread reports belongs to the model *name*."""
        token = _loading.set(name)
        with self._lock:
            self._at_work.append(name)
        try:
            yield
        finally:
            _loading.reset(token)
            with self._lock:
                self._at_work.remove(name)
                self._progress.pop(name, None)

    def progress(self, name: str) -> dict[str, Any] | None:
        """How far the download of a model is: ``done`` and ``total`` in bytes, and what is downloaded."""
        with self._lock:
            return self._progress.get(name)

    async def changes(self, look: Callable[[], Awaitable[Any]], silence: float) -> AsyncIterator[Any]:
        """What *look* gives, at once and whenever it changes; None after so many seconds without a change."""
        last: Any = None
        told = time.monotonic()
        while True:
            now = await look()
            if now != last:
                last, told = now, time.monotonic()
                yield now
            elif time.monotonic() - told >= silence:
                told = time.monotonic()
                yield None
            await asyncio.sleep(_STEP)
