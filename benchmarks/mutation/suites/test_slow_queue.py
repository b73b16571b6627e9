"""The toy with a queue, so slow that the kit can see who waits in it."""

from __future__ import annotations

from typing import ClassVar

from llamaforge.testing import BackendConformance
from llamaforge.testing.fakes import QueueingToyBackend


class TestSlowQueueingToy(BackendConformance):
    """Two milliseconds a token."""

    backend = QueueingToyBackend
    model = "toy"
    parameters: ClassVar = {"delay": 0.002}
