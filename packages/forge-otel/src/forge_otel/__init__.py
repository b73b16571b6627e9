"""OpenTelemetry from LlamaForge's observers: ``llamaforge.observers.attach(OpenTelemetryObserver())``."""

from __future__ import annotations

from ._version import __version__
from .observer import OpenTelemetryObserver

__all__ = ["OpenTelemetryObserver", "__version__"]
