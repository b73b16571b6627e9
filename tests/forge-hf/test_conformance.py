"""The whole kit against transformers with a real model."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from llamaforge.testing import BackendConformance


class TestHuggingFace(BackendConformance):
    backend = "huggingface"
    parameters: ClassVar = {"device": "cpu"}
    prompt = "What is a noun? Give many examples."
    rounding = 0.8  # bfloat16 has eight bits, and the sums of a batch are rounded in another order
    crowd = 20  # eight are computed at once
    max_load_cycles = 2

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def real_model(cls, hf_model: Path) -> None:
        cls.model = hf_model
