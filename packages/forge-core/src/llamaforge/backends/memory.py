"""The memory that a loaded model takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
