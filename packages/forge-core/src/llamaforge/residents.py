"""The models in memory, within a budget: what they take, which of them may go, and how they go."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from .backends.base import BaseBackend
from .errors import MemoryBudgetError
from .loaded_models import Slot
from .memory_budget import MemorySizes
from .models import ModelEntry
from .validation import seconds_to_wait

_logger = logging.getLogger(__name__)

FOREVER: Final = threading.TIMEOUT_MAX
_SOON: Final = 0.1
"""Seconds after which it is looked again whether a model that nobody uses is gone."""


class Residents:
    """The part of a pool that knows memory.

    A model that is being loaded counts with what is set aside for it; one that is being unloaded counts until its
    memory is free. So loads that run at the same time don't exceed the budget together.

    Args:
        memory_budget: bytes that all models together may take; None: no limit.
        estimate: estimates the bytes that a model will take.
    """

    def __init__(self, memory_budget: int | None, estimate: Callable[[ModelEntry], int | None] | None) -> None:
        self.memory_budget = memory_budget
        self._sizes = MemorySizes(estimate)
        self._changed = threading.Condition()
        # Under the condition's lock:
        self._changes = 0
        self._slots: dict[str, Slot] = {}
        self._loading: dict[str, Slot] = {}
        self._unloading: list[Slot] = []
        self._pinned: set[str] = set()

    def _tell(self) -> None:
        self._changes += 1
        self._changed.notify_all()

    def _reserve(self, slot: Slot) -> None:
        """Set memory aside for the model of *slot*; unload what nobody uses until it fits into the budget."""
        budget = self.memory_budget
        if budget is None:
            return
        needed = self._sizes.needed(slot)
        if needed > budget:
            raise MemoryBudgetError(slot.entry.name, needed, budget)
        while True:
            self._measure()
            with self._changed:
                taken = self._taken(slot)
                if taken + needed <= budget:
                    slot.size = needed
                    return
                leaving = any(map(_is_idle, self._unloading))
                victim = self._least_recent(slot.entry.name)
                if victim is None and leaving:
                    self._changed.wait(_SOON)
                    continue
            if victim is None:
                raise MemoryBudgetError(slot.entry.name, needed, budget, taken)
            self._make_way(victim)

    def _settle(self, slot: Slot) -> None:
        """The model of *slot* is loaded: what it takes is measured now, and has to fit, too."""
        budget = self.memory_budget
        self._sizes.measure(slot)
        if budget is None:
            return
        while True:
            if slot.size > budget:
                raise MemoryBudgetError(slot.entry.name, slot.size, budget)
            with self._changed:
                replaced = self._slots.get(slot.entry.name)  # it goes as soon as this one takes its place
                taken = self._taken(slot) - (replaced.size if replaced is not None else 0)
                if taken + slot.size <= budget:
                    return
                victim = self._least_recent(slot.entry.name)
            if victim is None:
                raise MemoryBudgetError(slot.entry.name, slot.size, budget, taken)
            self._make_way(victim)

    def unload_least_recent(self, spared: str | None = None) -> str | None:
        """Unload the model that has been unused for the longest time, unless it is in use or pinned.

        Args:
            spared: a model that stays.

        Returns its name; None where there is none.
        """
        while True:
            with self._changed:
                name = self._least_recent(spared)
            if name is None or self._make_way(name):
                return name

    def _make_way(self, name: str) -> bool:
        """:meth:`_evict` for the sake of another model, whose load an error in this one's backend must not fail."""
        try:
            return self._evict(name)
        except Exception:
            _logger.exception("The model %r made room, but its backend failed to unload it.", name)
            return True

    def _least_recent(self, spared: str | None) -> str | None:
        free = [(slot.last_used, name) for name, slot in self._slots.items() if name != spared and self._is_free(name)]
        return min(free)[1] if free else None

    def _measure(self) -> None:
        with self._changed:
            slots = list(self._slots.values())
        for slot in slots:
            self._sizes.measure(slot)

    def _taken(self, but: Slot) -> int:
        """Bytes of all models, those that load or leave included, *but* one."""
        every = [*self._slots.values(), *self._loading.values(), *self._unloading]
        return sum(slot.size for slot in every if slot is not but)

    def _is_free(self, name: str) -> bool:
        return name not in self._pinned and not self._slots[name].busy

    def _evict(self, name: str) -> bool:
        """Unload *name* if nobody has begun to use it meanwhile. Returns whether it was unloaded."""
        with self._changed:
            slot = self._slots.get(name)
            if slot is None or not self._is_free(name):
                return False
            del self._slots[name]
            slot.enter("unloading")
            self._unloading.append(slot)
        self._release(slot, wait=True)  # a request may have begun between the look and now: it is not cut off
        return True

    def _release(self, slot: Slot, wait: bool | float) -> None:
        """Give the memory back, after waiting for the leases as asked."""
        limit = min(FOREVER, seconds_to_wait(wait))
        end = time.monotonic() + limit
        try:
            with self._changed:
                self._changed.wait_for(lambda: not slot.leases, max(0.0, min(limit, FOREVER)))
            if slot.backend is not None:
                unload(slot.backend, wait if wait is True else max(0.0, end - time.monotonic()))
        finally:
            with self._changed:
                self._unloading.remove(slot)
                self._tell()


def unload(backend: BaseBackend, wait: bool | float) -> None:
    """Call the backend's ``unload_model``; an author's own may not know ``wait``."""
    own = type(backend).unload_model
    if own is BaseBackend.unload_model or "wait" in inspect.signature(own).parameters:
        backend.unload_model(wait=wait)
    else:
        backend.unload_model()


def _is_idle(slot: Slot) -> bool:
    """Whether nobody uses the model of *slot*, which is being unloaded, any more."""
    return not slot.leases and (slot.backend is None or not slot.backend.requests_in_flight)
