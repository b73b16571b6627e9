"""One loaded backend for all tests that don't mind what went before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forge_llamacpp import LlamaCppBackend
from support.gguf_files import make_tiny_gguf

# One thread: llama.cpp's threads wait for each other actively, which is slow where others use the processors, too.
PARAMETERS: dict[str, Any] = {"n_ctx": 1024, "n_threads": 1}


@pytest.fixture(scope="session")
def backend(gguf_model: Path) -> Iterator[LlamaCppBackend]:
    """The real model, loaded."""
    with LlamaCppBackend() as loaded:
        loaded.load_model(gguf_model, PARAMETERS)
        yield loaded


@pytest.fixture
def fresh(gguf_model: Path) -> Iterator[LlamaCppBackend]:
    """The real model, loaded for one test alone."""
    with LlamaCppBackend() as loaded:
        loaded.load_model(gguf_model, PARAMETERS)
        yield loaded


@pytest.fixture
def empty() -> Iterator[LlamaCppBackend]:
    """A backend without a model."""
    with LlamaCppBackend() as unloaded:
        yield unloaded


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights: it says nonsense, a byte at a time, and loads in a moment."""
    return make_tiny_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def plain_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without a chat template."""
    return make_tiny_gguf(tmp_path_factory.mktemp("plain") / "plain.gguf", template=None)
