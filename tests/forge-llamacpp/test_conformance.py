"""The whole kit against llama.cpp with a real model."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from llamaforge.testing import BackendConformance


class TestLlamaCpp(BackendConformance):
    backend = "llama.cpp"
    # One thread: llama.cpp's threads wait for each other actively, which is slow where others use the processors, too.
    parameters: ClassVar = {"n_ctx": 1024, "n_threads": 1}
    prompt = "What is a noun? Give many examples."
    # Activations are quantized for the 4-bit weights; what else is in a batch or in the cache moves them a little.
    rounding = 0.8
    crowd = 20  # eight are computed at once

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def real_model(cls, gguf_model: Path) -> None:
        cls.model = gguf_model
