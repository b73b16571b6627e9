"""The kit against the echo backend whose steps take time, as an engine's do: only so, something can interrupt them."""

from __future__ import annotations

from typing import ClassVar

from llamaforge.testing import BackendConformance, EmbeddingConformance


class TestSlowEcho(BackendConformance):
    """A millisecond a step."""

    backend = "echo"
    model = "anything"
    parameters: ClassVar = {"delay": 0.001}


class TestSlowEchoVectors(EmbeddingConformance):
    """The same for vectors."""

    backend = "echo"
    model = "anything"
    parameters: ClassVar = {"task": "embed", "delay": 0.001}
