"""What the endpoints of one server share."""

from __future__ import annotations

from dataclasses import dataclass

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
