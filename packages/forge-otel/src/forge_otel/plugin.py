"""What core learns of this package: one observer. Light: nothing of OpenTelemetry is imported here."""

from __future__ import annotations

from collections.abc import Callable

from llamaforge import hookimpl
from llamaforge.observers import Observer


@hookimpl
def llamaforge_observer() -> Callable[[], Observer]:
    """``LLAMAFORGE_OBSERVERS=otel``."""
    from .observer import OpenTelemetryObserver

    return OpenTelemetryObserver
