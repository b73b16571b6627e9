"""The memory that a loaded model takes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import BaseBackend

_logger = logging.getLogger("llamaforge")


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryUsage:
    """The memory that a loaded model takes, including its caches."""

    host: int = 0
    """Bytes of main memory. A mapped file counts with its whole size."""
    devices: Mapping[str, int] = field(default_factory=dict)
    """Bytes on each accelerator, by its name."""
    measured: bool = False
    """Whether the engine measured it; otherwise it is an estimate."""

    @property
    def total(self) -> int:
        """Bytes on the host and on all devices together."""
        return self.host + sum(self.devices.values())


def memory_of(backend: BaseBackend) -> MemoryUsage | None:
    """The memory of its model; None if unknown. An engine that can't say it must not hide the other models."""
    try:
        return backend.memory()
    except Exception:
        _logger.warning("The backend %r can't say how much memory its model takes.", backend.name, exc_info=True)
        return None
