"""Loads under way: one for each model, shared by all who wait for it, and given room in turn."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from contextlib import AbstractContextManager
from typing import Any

from llamaforge import BaseBackend, LlamaForge
from llamaforge.errors import MemoryBudgetError
from llamaforge.memory_budget import is_out_of_memory
from llamaforge.models import ModelEntry

from .responsive import responsive
from .watch import Watch

_log = logging.getLogger(__name__)

_LOOK = 0.5
"""Seconds between two looks at whether anybody still waits."""

Lease = AbstractContextManager[BaseBackend]


class _Abandoned(Exception):
    """Nobody waited any more for a model that waited for room."""


class _Load:
    """A load that is under way, and how many requests wait for it."""

    def __init__(self) -> None:
        self.done: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.waiting = 0
        self.abandoned = threading.Event()
        self.held_up: float | None = None
        """Since when it waits for models in use to make room, by ``time.monotonic()``; None: it doesn't."""


class Loads:
    """Gives leases on models.

    Args:
        forge: the models and their pool.
        watch: who is told of progress.
        max_wait: seconds to wait for models in use to make room.
        turn: seconds that a model goes on answering new requests while another one waits for its room. After that it
            finishes what it has begun, and new requests wait, so that models which don't fit together take turns.
        freezes: hide what the first load of a backend leaves from the garbage collector.
    """

    def __init__(self, forge: LlamaForge, watch: Watch, *, max_wait: float, turn: float, freezes: bool = False) -> None:
        self.max_wait = max_wait
        self.turn = turn
        self.failures: dict[str, str] = {}
        """Why the last load of a model failed."""
        self._forge = forge
        self._watch = watch
        self._freezes = freezes
        self._frozen: set[str] = set()
        """The backends whose first load is over."""
        self._loads: dict[str, _Load] = {}

    async def lease(self, entry: ModelEntry) -> Lease:
        """A lease on a model, which is loaded first if need be. Raises the errors of loading."""
        await self._give_way(entry.name)
        while True:
            leased = self._forge.pool.lease_loaded(entry, entry.parameters)
            if leased is not None:
                return leased
            load = self._loads.get(entry.name)
            if load is None:
                load = self._begin(entry)
            load.waiting += 1
            load.abandoned.clear()
            try:
                await asyncio.shield(load.done)
                leased = self._forge.pool.lease_loaded(entry, entry.parameters)
            except _Abandoned:  # this one came too late to keep it up
                continue
            finally:
                load.waiting -= 1
                if not load.waiting:
                    self._nobody_waits(load)
            if leased is not None:
                return leased

    def held_up(self, name: str) -> bool:
        """Whether a model waits for others in use to make room, and its turn has come."""
        load = self._loads.get(name)
        return load is not None and self._is_due(load)

    async def _give_way(self, name: str) -> None:
        """Wait while another model waits for the room of this one, and its turn has come."""
        while True:
            due = [load for load in self._loads.values() if self._is_due(load)]
            if not due or name in self._loads or name != self._oldest():
                return
            await asyncio.wait([load.done for load in due], return_when=asyncio.FIRST_COMPLETED)

    def _is_due(self, load: _Load) -> bool:
        return load.held_up is not None and time.monotonic() - load.held_up >= self.turn and not load.done.done()

    def _oldest(self) -> str | None:
        """The model that has been in memory for the longest time, of those that may be unloaded."""
        models = [model for model in self._forge.loaded_models() if model.state == "loaded" and not model.pinned]
        return min(models, key=lambda model: model.since).name if models else None

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
            leased, failure, begun = None, None, time.monotonic()
            try:
                with self._watch.loading(entry.name):
                    leased = self._enter(entry, load)
                self.failures.pop(entry.name, None)
                _log.info("The model %r is loaded (%.1f s).", entry.name, time.monotonic() - begun)
            except BaseException as error:  # noqa: BLE001 - it belongs to those who wait
                failure = error
                if not isinstance(error, _Abandoned):
                    self.failures[entry.name] = str(error)
                    _log.warning("The model %r can't be loaded: %s", entry.name, error)
            try:
                loop.call_soon_threadsafe(finish, leased, failure)
            except RuntimeError:  # the server has ended meanwhile
                if leased is not None:
                    leased.__exit__(None, None, None)

        threading.Thread(target=work, name=f"load-{entry.name}", daemon=True).start()
        return load

    def _enter(self, entry: ModelEntry, load: _Load) -> Lease:
        """A lease on the loaded model. Where others in use take the room, wait for it; where memory is short although
        the budget isn't, unload what is idle and try again."""
        pool = self._forge.pool
        end = time.monotonic() + self.max_wait
        while True:
            leased = pool.lease(entry, entry.parameters)
            changes = pool.changes
            try:
                with responsive():
                    backend = leased.__enter__()
            except Exception as error:
                left = end - time.monotonic()
                if not isinstance(error, MemoryBudgetError):
                    if not is_out_of_memory(error) or pool.unload_least_recent(entry.name) is None:
                        raise
                    _log.warning("There is no memory for %r: idle models make room. (%s)", entry.name, error)
                    continue
                too_large = pool.memory_budget is not None and error.needed > pool.memory_budget
                if too_large or left <= 0:
                    raise
                if load.abandoned.is_set():
                    raise _Abandoned from None
                load.held_up = load.held_up or time.monotonic()
                pool.wait_for_change(min(left, _LOOK), since=changes)
            else:
                load.held_up = None
                if self._freezes and backend.name not in self._frozen:
                    self._frozen.add(backend.name)
                    gc.freeze()
                return leased
