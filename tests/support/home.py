"""A home of the tests' own, so that none reads the user's settings or writes into the user's folders."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

_FOLDERS = {
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"),
    *("HF_HOME", "HF_HUB_CACHE", "HF_XET_CACHE", "HF_ASSETS_CACHE", "HF_TOKEN_PATH", "HUGGINGFACE_HUB_CACHE"),
}

_PATIENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
"""OpenMP threads that wait actively for each other are many times slower when others use the processors."""


class Home:
    """An empty home folder for this process and its children, and one thread for each computation of torch.

    Two things stay the user's, because making them again takes minutes: the models that were fetched, and what pip
    keeps (a build of llama.cpp). pip also keeps its settings: which index to use, behind which proxy.

    Args:
        model_cache: where fetched models are; None: where the environment variables say.

    Attributes:
        model_cache: the user's cache of models.
    """

    def __init__(self, model_cache: str | None = None) -> None:
        from llamaforge.sources import cache_folder

        self.model_cache = Path(model_cache) if model_cache else cache_folder()
        kept = {"PIP_CACHE_DIR": _pip_cache(), "PIP_CONFIG_FILE": _pip_settings()}
        for name in list(os.environ):
            if name.startswith("LLAMAFORGE_") or name in _FOLDERS:
                del os.environ[name]
        os.environ.update({name: path for name, path in kept.items() if path is not None})
        os.environ.update(_PATIENT)
        self._folder = os.environ["HOME"] = tempfile.mkdtemp(prefix="llamaforge-tests-home-")

    def leave(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _pip_cache() -> str | None:
    chosen = os.environ.get("PIP_CACHE_DIR")
    return chosen or str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pip")


def _pip_settings() -> str | None:
    """The user's own configuration of pip; it is found below the home folder, unless a variable names it."""
    if chosen := os.environ.get("PIP_CONFIG_FILE"):
        return chosen
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    found = [path for path in (config / "pip" / "pip.conf", Path.home() / ".pip" / "pip.conf") if path.is_file()]
    return str(found[0]) if found else None
