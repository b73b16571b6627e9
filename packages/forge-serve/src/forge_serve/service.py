"""What the endpoints of one server share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from llamaforge import LlamaForge

from .config import ServeConfig
from .metrics import Metrics
from .residency import Residency
from .store import Store
from .watch import Watch


@dataclass
class Service:
    """The models, the settings in force, and what is counted."""

    forge: LlamaForge
    config: ServeConfig
    """May be replaced while the server runs: whoever needs a setting reads it here."""
    residency: Residency
    metrics: Metrics
    watch: Watch
    responses: Store
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """The server ends: who waits for nothing but the next change stops, and requests that are cancelled are told."""

    def configure(self, config: ServeConfig) -> None:
        """Go on with other settings. The access log stays as it is."""
        self.config = config
        self.residency.configure(config)
        self.responses.limit = config.store_size
