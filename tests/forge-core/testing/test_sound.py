"""The kit passes the sound backends, whatever side their authors wrote."""

from __future__ import annotations

from typing import ClassVar

from llamaforge.testing import BackendConformance
from llamaforge.testing.fakes import AsyncToyBackend, BasicToyBackend, QueueingToyBackend, ToyBackend, shapes


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


class TestWithoutLogprobs(BackendConformance):
    backend = shapes.WithoutLogprobs
    model = "toy"


class TestWithFewParameters(BackendConformance):
    backend = shapes.WithFewParameters
    model = "toy"


class TestWithoutParameters(BackendConformance):
    backend = shapes.WithoutParameters
    model = "toy"


class TestWithoutSystemTurns(BackendConformance):
    backend = shapes.WithoutSystemTurns
    model = "toy"


class TestWithoutCounts(BackendConformance):
    backend = shapes.WithoutCounts
    model = "toy"


class TestReasoning(BackendConformance):
    backend = shapes.Reasoning
    model = "toy"


class TestWithASmallQueue(BackendConformance):
    backend = shapes.WithASmallQueue
    model = "toy"
    crowd = 6


class TestWithTies(BackendConformance):
    backend = shapes.WithTies
    model = "toy"


class TestSlow(BackendConformance):
    backend = ToyBackend
    model = "toy"
    parameters: ClassVar = {"delay": 0.002}
