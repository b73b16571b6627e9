"""The folder for downloaded models."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "LLAMAFORGE_CACHE"


def cache_folder() -> Path:
    """The folder for downloads: ``LLAMAFORGE_CACHE``, or the platform's cache folder. It may not exist yet."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("llamaforge", appauthor=False)) / "models"
