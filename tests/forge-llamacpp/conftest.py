"""One loaded backend for all tests that don't mind what went before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forge_llamacpp import LlamaCppBackend, LlamaCppConfig
from forge_llamacpp.engine import LlamaCppEngine
from support.gguf_files import make_tiny_gguf

# One thread: llama.cpp's threads wait for each other actively, which is slow where others use the processors, too.
# Fewer than 64 tokens at once: from there on flash attention works by tiles, which rounds differently. The weights have
# four bits, which carries a difference in the last digit on to the second, and where two tokens are almost equally good
# the text then goes on differently. For the same reason the common backend keeps nothing between two tests: where the
# tokens stand in the cache decides in which order they are added up.
PARAMETERS: dict[str, Any] = {"n_ctx": 1024, "n_threads": 1, "n_ubatch": 32}


# 32-bit floats without flash attention: with the small model, whose weights are such floats, logits differ in the sixth
# digit only, whatever else is computed, and texts not at all.
EXACT: dict[str, Any] = {"n_threads": 1, "f16_kv": False, "flash_attn": False}


@pytest.fixture(scope="session")
def exact() -> dict[str, Any]:
    """Load parameters with which the small model's texts don't depend on what else is computed."""
    return dict(EXACT)


@pytest.fixture(scope="session")
def backend(gguf_model: Path) -> Iterator[LlamaCppBackend]:
    """The real model, loaded."""
    with LlamaCppBackend() as loaded:
        loaded.load_model(gguf_model, {**PARAMETERS, "prefix_cache": 0})
        yield loaded


@pytest.fixture
def fresh(gguf_model: Path) -> Iterator[LlamaCppBackend]:
    """The real model, loaded for one test alone."""
    with LlamaCppBackend() as loaded:
        loaded.load_model(gguf_model, PARAMETERS)
        yield loaded


@pytest.fixture(scope="session")
def engine(gguf_model: Path) -> Iterator[LlamaCppEngine]:
    """The engine alone, with the real model. Whoever uses a slot empties it."""
    loaded = LlamaCppEngine(str(gguf_model), LlamaCppConfig(**PARAMETERS, n_parallel=4, prefix_cache=4))
    yield loaded
    loaded.close()


@pytest.fixture
def tiny(tiny_gguf: Path) -> Iterator[LlamaCppBackend]:
    """The small model, exactly. It never ends by itself where token 256 is forbidden."""
    with LlamaCppBackend() as loaded:
        loaded.load_model(tiny_gguf, EXACT)
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
