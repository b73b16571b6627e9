"""Which models are in memory: loaded on demand, one load at a time for each, and never taken from whom they answer."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncIterator

from llamaforge import BaseBackend, LlamaForge
from llamaforge.errors import LlamaForgeError, UnknownModelError
from llamaforge.models import ModelEntry

from .config import ServeConfig
from .errors import Problem
from .loads import Loads
from .watch import Watch

_FRESH = 1.0
"""Seconds for which the list of named models is remembered."""


class Residency:
    """The models that a server may use.

    Args:
        forge: the models and their pool.
        config: the settings.
        watch: who is told of progress.
    """

    def __init__(self, forge: LlamaForge, config: ServeConfig, watch: Watch) -> None:
        self.forge = forge
        self.watch = watch
        self._config = config
        self._loads = Loads(forge, watch, max_wait=config.max_wait, turn=config.turn, freezes=config.owns_process)
        self._asked: Counter[str] = Counter()
        self._known: tuple[float, dict[str, ModelEntry]] = (float("-inf"), {})
        self._keep: dict[str, float] = {}
        self._pinned = set(config.pinned)
        self._background: set[asyncio.Task[None]] = set()

    def configure(self, config: ServeConfig) -> None:
        """Go on with other settings."""
        for name in self._config.pinned - config.pinned:
            self.pin(name, False)
        for name in config.pinned - self._config.pinned:
            self.pin(name)
        self._config = config
        self._loads.max_wait, self._loads.turn = config.max_wait, config.turn
        self._known = (float("-inf"), {})

    def entries(self) -> dict[str, ModelEntry]:
        """The models to serve, by name."""
        read, known = self._known
        if time.monotonic() - read > _FRESH:
            served = self._config.models
            names = [name for name in self.forge.list_models() if not served or name in served]
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
    async def lease(self, name: str, keep: float | None = None) -> AsyncIterator[BaseBackend]:
        """A model's backend for as long as a request lasts; loaded first, if need be.

        Args:
            name: the model.
            keep: seconds that it stays in memory afterwards while nobody uses it, instead of the server's own limit;
                infinity: until room is needed.

        Raises Problem where too many requests to the model run or wait, UnknownModelError, and the errors of loading.
        """
        entry = self.entry(name)
        if self._asked[entry.name] >= self._config.max_queue:
            what = (
                f"The server takes {self._config.max_queue} requests to a model at once (--max-queue), and as many to "
                f"{entry.name!r} run or wait already. Try again later."
            )
            raise Problem(429, "overloaded", what, headers={"retry-after": "1"})
        self._asked[entry.name] += 1
        try:
            with await self._loads.lease(entry) as backend:
                yield backend
        finally:
            self._asked[entry.name] -= 1
            if keep is not None:
                self._keep[entry.name] = keep
                if keep == 0:
                    self._beside(self._unload_idle(entry.name, 0.0))

    def preload(self, name: str) -> None:
        """Begin to load a model, and wait for nothing. A failure is kept: see :meth:`failure`."""
        self._beside(self._preload(name))

    async def unload(self, entry: ModelEntry, *, force: bool = False) -> None:
        """Unload a model once its requests have ended; with *force* they are cancelled. Raises ModelNotLoadedError."""
        await asyncio.to_thread(self.forge.pool.unload, entry.name, wait=not force)

    def pin(self, name: str, pinned: bool = True) -> None:
        """Keep a model in memory once it is loaded, or let it go again."""
        (self._pinned.add if pinned else self._pinned.discard)(name)
        self.forge.pool.pin(name, pinned)

    def is_pinned(self, name: str) -> bool:
        """Whether a model stays in memory once it is loaded."""
        return name in self._pinned

    def requests(self, name: str) -> int:
        """Requests to that model that run or wait."""
        return self._asked[name]

    def waiting(self) -> dict[str, int]:
        """For each model that was asked for, the requests to it that wait until it is loaded."""
        inside = {model.name: model.requests for model in self.forge.loaded_models()}
        return {name: max(0, count - inside.get(name, 0)) for name, count in self._asked.items()}

    def held_up(self, name: str) -> bool:
        """Whether a model waits for others in use to make room, and its turn has come."""
        return self._loads.held_up(name)

    def failure(self, name: str) -> str | None:
        """Why the last load of that model failed; None if it didn't."""
        return self._loads.failures.get(name)

    def expires(self, name: str) -> float:
        """When an idle model is unloaded, in Unix time; infinity: when room is needed."""
        limit = self._limit(name)
        loaded = next((model for model in self.forge.loaded_models() if model.name == name), None)
        if limit is None or loaded is None or self.is_pinned(name):
            return math.inf
        return time.time() + max(0.0, limit - (loaded.idle or 0.0))

    async def unload_idle(self) -> None:
        """Unload the models that have been idle for longer than they are to stay."""
        for model in self.forge.loaded_models():
            limit = self._limit(model.name)
            if limit is not None and model.idle is not None and model.idle >= limit:
                await self._unload_idle(model.name, limit)

    def _limit(self, name: str) -> float | None:
        kept = self._keep.get(name, self._config.idle)
        return None if kept is None or math.isinf(kept) else kept

    async def _unload_idle(self, name: str, seconds: float) -> None:
        await asyncio.to_thread(self.forge.pool.unload_idle, seconds, name)

    async def _preload(self, name: str) -> None:
        with contextlib.suppress(LlamaForgeError):  # it is logged, and kept
            async with self.lease(name):
                pass

    def _beside(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._background.add(task)
        task.add_done_callback(self._background.discard)
