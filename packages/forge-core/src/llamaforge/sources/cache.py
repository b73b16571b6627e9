"""The folder for fetched models."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "LLAMAFORGE_CACHE"


def cache_folder() -> Path:
    """Where fetched models are kept: ``LLAMAFORGE_CACHE``, or the platform's own cache folder. It may not exist yet."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("llamaforge", appauthor=False)) / "models"
