"""Which models are in memory: loaded on demand, one load at a time for each, and never taken from whom they answer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Any

from llamaforge import BaseBackend, LlamaForge
from llamaforge.errors import MemoryBudgetError, QueueFullError, UnknownModelError
from llamaforge.models import ModelEntry

_FRESH = 1.0
"""Seconds for which the list of named models is remembered."""


class _Load:
    """A load that is under way, and how many requests wait for it."""

    def __init__(self) -> None:
        self.done: asyncio.Future[AbstractContextManager[BaseBackend]] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.waiting = 0
        self.abandoned = threading.Event()


class Residency:
    """The models that a server may use.

    Args:
        forge: the models and their pool.
        models: names to serve; empty: all.
        max_queue: requests to one model at once, running and waiting.
        max_wait: seconds to wait for models in use to make room.
    """

    def __init__(self, forge: LlamaForge, *, models: tuple[str, ...], max_queue: int, max_wait: float) -> None:
        self.forge = forge
        self._models = models
        self._max_queue = max_queue
        self._max_wait = max_wait
        self._loads: dict[str, _Load] = {}
        self._asked: Counter[str] = Counter()
        self._known: tuple[float, dict[str, ModelEntry]] = (float("-inf"), {})

    def entries(self) -> dict[str, ModelEntry]:
        """The models to serve, by name."""
        read, known = self._known
        if time.monotonic() - read > _FRESH:
            names = [name for name in self.forge.list_models() if not self._models or name in self._models]
            known = {name: self.forge.get_model(name) for name in names}
            self._known = (time.monotonic(), known)
        return known

    def entry(self, name: str) -> ModelEntry:
        """The model called *name*. Only names are known here: a reference or a path reaches nothing.

        Raises UnknownModelError.
        """
        entries = self.entries()
        found = entries.get(name) or entries.get(name.removesuffix(":latest"))
        if found is None:
            raise UnknownModelError(name, entries)
        return found

    @contextlib.asynccontextmanager
    async def lease(self, name: str) -> AsyncIterator[BaseBackend]:
        """A model's backend for as long as a request lasts; loaded first, if need be.

        Raises UnknownModelError, QueueFullError and the errors of loading.
        """
        entry = self.entry(name)
        if self._asked[entry.name] >= self._max_queue:
            raise QueueFullError(self._asked[entry.name], self._max_queue)
        self._asked[entry.name] += 1
        try:
            leased = self.forge.pool.lease_loaded(entry, entry.parameters)
            if leased is None:
                leased = await self._loaded(entry)
            with leased as backend:
                yield backend
        finally:
            self._asked[entry.name] -= 1

    async def unload(self, entry: ModelEntry) -> None:
        """Unload a model once its requests have ended. Raises ModelNotLoadedError."""
        await asyncio.to_thread(self.forge.pool.unload, entry.name, wait=True)

    def requests(self, name: str) -> int:
        """Requests to that model that run or wait."""
        return self._asked[name]

    async def _loaded(self, entry: ModelEntry) -> AbstractContextManager[BaseBackend]:
        """A lease on a model that has to be loaded first. All who ask meanwhile wait for the same load."""
        while True:
            load = self._loads.get(entry.name)
            if load is None:
                load = self._begin(entry)
            load.waiting += 1
            try:
                await asyncio.shield(load.done)
                leased = self.forge.pool.lease_loaded(entry, entry.parameters)
            finally:
                load.waiting -= 1
                if not load.waiting:
                    self._nobody_waits(load)
            if leased is not None:
                return leased

    def _nobody_waits(self, load: _Load) -> None:
        if load.done.done():
            if not load.done.cancelled() and load.done.exception() is None:
                load.done.result().__exit__(None, None, None)
        else:
            load.abandoned.set()

    def _begin(self, entry: ModelEntry) -> _Load:
        load = self._loads[entry.name] = _Load()
        loop = asyncio.get_running_loop()

        def finish(leased: Any, error: BaseException | None) -> None:
            if self._loads.get(entry.name) is load:
                del self._loads[entry.name]
            if error is not None:
                load.done.set_exception(error)
                return
            load.done.set_result(leased)
            if not load.waiting:
                leased.__exit__(None, None, None)

        def work() -> None:
            leased, failure = None, None
            try:
                leased = self._enter(entry, load)
            except BaseException as error:  # noqa: BLE001 - it belongs to those who wait
                failure = error
            try:
                loop.call_soon_threadsafe(finish, leased, failure)
            except RuntimeError:  # the server has ended meanwhile
                if leased is not None:
                    leased.__exit__(None, None, None)

        threading.Thread(target=work, name=f"load-{entry.name}", daemon=True).start()
        return load

    def _enter(self, entry: ModelEntry, load: _Load) -> AbstractContextManager[BaseBackend]:
        """A lease on the loaded model. Where others in use take the room, wait for it."""
        pool = self.forge.pool
        end = time.monotonic() + self._max_wait
        while True:
            leased = pool.lease(entry, entry.parameters)
            try:
                leased.__enter__()
            except MemoryBudgetError as error:
                left = end - time.monotonic()
                too_large = pool.memory_budget is not None and error.needed > pool.memory_budget
                if too_large or left <= 0 or load.abandoned.is_set():
                    raise
                pool.wait_for_change(min(left, 0.5))
            else:
                return leased
