"""The real model, loaded once, and a small one for what takes many requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forge_hf import HuggingFaceBackend
from support.hf_models import make_tiny_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """On a machine that is busy, threads of torch that wait for each other are many times slower than one."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(hf_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random layers under the real tokenizer and chat template; a context of 256 tokens."""
    from transformers import AutoTokenizer

    return make_tiny_model(tmp_path_factory.mktemp("tiny"), AutoTokenizer.from_pretrained(hf_model))


@pytest.fixture(scope="session")
def real(hf_model: Path) -> Iterator[HuggingFaceBackend]:
    """SmolLM2, loaded."""
    with HuggingFaceBackend() as backend:
        backend.load_model(hf_model, {"device": "cpu"})
        yield backend


@pytest.fixture(scope="session")
def shared_tiny(tiny_model: Path) -> Iterator[HuggingFaceBackend]:
    """The small model, loaded; for tests that leave it as it is."""
    with HuggingFaceBackend() as backend:
        backend.load_model(tiny_model, {"device": "cpu"})
        yield backend


@pytest.fixture
def tiny(shared_tiny: HuggingFaceBackend) -> HuggingFaceBackend:
    return shared_tiny


@pytest.fixture
def engine(shared_tiny: HuggingFaceBackend) -> Any:
    """The small model's engine."""
    assert shared_tiny._engine is not None
    return shared_tiny._engine
