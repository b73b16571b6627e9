"""The sampling that a model's makers recommend, read from its files without loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..formats import generation_config, gguf
from ..parameters import valid_parameters


def recommended_sampling(model: Path) -> dict[str, Any]:
    """What the model at *model*, a GGUF file or a folder with ``generation_config.json``, recommends.

    By canonical parameter name. Invalid values are left out; empty where nothing is recommended or can be read.
    """
    if model.is_dir():
        return valid_parameters(generation_config.recommended_sampling(model))
    try:
        return valid_parameters(gguf.recommended_sampling(gguf.read_header(model).metadata))
    except (gguf.DamagedFileError, OSError):
        return {}
