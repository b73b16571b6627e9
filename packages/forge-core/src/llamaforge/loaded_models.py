"""The models of a pool: what is known of each while it loads, serves and is unloaded."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .backends.base import BaseBackend
from .backends.memory import MemoryUsage
from .errors import ModelNotLoadedError
from .models import ModelEntry

State = Literal["loading", "loaded", "unloading"]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A snapshot of a model in a pool."""

    name: str
    """The model's name."""
    backend: str | None
    """The name of its backend; None until that is known."""
    state: State
    """``loading``, ``loaded`` or ``unloading``."""
    since: dt.datetime
    """When it entered that state, in UTC."""
    memory: MemoryUsage | None
    """The memory that it takes. None if unknown, or if it is not loaded yet."""
    requests: int
    """The number of running requests."""
    leases: int
    """The number of leases; see :meth:`ModelPool.lease`."""
    idle: float | None
    """Seconds since its last use (a request, a lease, or a call of ``load``); None while it is in use."""
    pinned: bool
    """Whether it is exempt from being unloaded automatically."""


@dataclass(eq=False, slots=True)
class Slot:
    """One model: being loaded (no backend yet), loaded, or being unloaded."""

    entry: ModelEntry
    parameters: Mapping[str, object]
    thread: int
    """The thread that loads it."""
    state: State = "loading"
    since: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    used: float = field(default_factory=time.monotonic)
    backend: BaseBackend | None = None
    error: BaseException | None = None
    leases: int = 0
    followers: int = 0
    """Callers that wait for the same load."""
    size: int = 0
    """Bytes that it takes: while it loads, those that are set aside for it."""

    def enter(self, state: State) -> None:
        """Go on to *state*, now."""
        self.state, self.since = state, dt.datetime.now(dt.UTC)

    def serves(self, entry: ModelEntry, parameters: Mapping[str, object]) -> bool:
        """Whether it is that model with those load parameters."""
        return self.entry == entry and self.parameters == parameters and not self.lost

    @property
    def ready(self) -> BaseBackend:
        """The backend of a model that is loaded. Raises ModelNotLoadedError for another one."""
        if self.backend is None:
            raise ModelNotLoadedError(f"The model {self.entry.name!r} is not loaded.", self.entry.name)
        return self.backend

    @property
    def lost(self) -> bool:
        """Whether its backend has lost the model: by a fork, or because it was told to unload it."""
        return self.state == "loaded" and self.backend is not None and not self.backend.is_model_loaded()

    @property
    def last_used(self) -> float:
        """When it was last asked for or answered, by ``time.monotonic()``."""
        return max(self.used, self.backend.last_request_ended if self.backend is not None else 0.0)

    @property
    def busy(self) -> bool:
        """Whether it loads, unloads or is in use."""
        return (
            self.state != "loaded"
            or self.leases > 0
            or self.followers > 0
            or (self.backend is not None and self.backend.requests_in_flight > 0)
        )
