"""How much memory models take: estimated before they are loaded, measured afterwards; and whether it was short."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .backends.memory import memory_of
from .loaded_models import Slot
from .models import ModelEntry


class MemorySizes:
    """Remembers what models took, so that the next load needs no estimate.

    Args:
        estimate: estimates the bytes that a model will take, which may be None.
    """

    def __init__(self, estimate: Callable[[ModelEntry], int | None] | None) -> None:
        self._estimate = estimate
        self._measured: dict[str, tuple[ModelEntry, Mapping[str, object], int]] = {}

    def needed(self, slot: Slot) -> int:
        """Bytes that the model of *slot* will take, as far as anybody knows."""
        known = self._measured.get(slot.entry.name)
        if known is not None and known[:2] == (slot.entry, slot.parameters):
            return known[2]
        return (self._estimate(slot.entry) if self._estimate is not None else None) or 0

    def measure(self, slot: Slot) -> None:
        """Set :attr:`.Slot.size` to what the loaded model takes now. It may call a plugin, so hold no lock."""
        if slot.backend is None:
            return
        usage = memory_of(slot.backend)
        if usage is not None:
            slot.size = usage.total
            self._measured[slot.entry.name] = (slot.entry, slot.parameters, slot.size)


OUT_OF_MEMORY = ("out of memory", "failed to allocate", "unable to allocate", "cannot allocate", "cudamalloc failed")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a load failed because memory was short: Python, torch, or the engine's own message says so."""
    seen: BaseException | None = error
    while seen is not None:
        said = str(seen).lower()
        if isinstance(seen, MemoryError) or type(seen).__name__ == "OutOfMemoryError":
            return True
        if any(words in said for words in OUT_OF_MEMORY):
            return True
        seen = seen.__cause__
    return False
