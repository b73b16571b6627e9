"""The kit passes the sound backends, whatever side their authors wrote."""

from __future__ import annotations

from typing import ClassVar

from llamaforge.testing import BackendConformance
from llamaforge.testing.fakes import AsyncToyBackend, BasicToyBackend, QueueingToyBackend, ToyBackend


class TestEcho(BackendConformance):
    backend = "echo"
    model = "anything"


class TestToy(BackendConformance):
    backend = ToyBackend
    model = "toy"


class TestToyWithoutTemplate(BackendConformance):
    backend = ToyBackend
    model = "toy"
    parameters: ClassVar = {"template": False}


class TestAsyncToy(BackendConformance):
    backend = AsyncToyBackend
    model = "toy"


class TestQueueingToy(BackendConformance):
    backend = QueueingToyBackend
    model = "toy"


class TestBasicToy(BackendConformance):
    backend = BasicToyBackend
    model = "toy"
