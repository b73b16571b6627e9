"""How much memory a loaded model takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryUsage:
    """Memory that a loaded model takes, weights and caches together."""

    host: int = 0
    """Bytes of main memory. A file that is mapped counts as a whole."""
    devices: Mapping[str, int] = field(default_factory=dict)
    """Bytes on each accelerator, by its name."""
    measured: bool = False
    """Whether the engine counted what it took; otherwise it is an estimate."""

    @property
    def total(self) -> int:
        """Bytes on the host and on all devices together."""
        return self.host + sum(self.devices.values())
