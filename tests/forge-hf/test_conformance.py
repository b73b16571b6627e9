"""The whole kit against transformers with a real model."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from llamaforge.testing import BackendConformance


class TestHuggingFace(BackendConformance):
    backend = "huggingface"
    parameters: ClassVar = {"device": "cpu"}
    prompt = "Tell me a long story about the sea."
    max_load_cycles = 2

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def real_model(cls, hf_model: Path) -> None:
        cls.model = hf_model
