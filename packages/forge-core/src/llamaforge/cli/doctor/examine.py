"""Everything that ``llamaforge doctor`` finds, as plain data without a secret."""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...backends.distributions import DISTRIBUTIONS, install_command
from ...errors import LlamaForgeError
from ...forge import LlamaForge
from ...installing import pip_here
from ...models import ModelFile
from ...models.masking import shown
from ...plugins import BACKENDS, damaged_distributions
from ...sources import cache_folder
from ..failures import cleaned
from . import distributions
from .plugins import look_at_plugins

_PREFIX = "LLAMAFORGE_"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def examine(timeout: float, names: Sequence[str] = ()) -> dict[str, Any]:
    """Look at everything, or of the plugins only at those in *names*. ``broken`` counts what does not work.

    *timeout*: seconds for each plugin.
    """
    looked_at, model_file, cache = look_at_plugins(timeout, names), _model_file(), _cache()
    absent = {one["name"]: one["install"] for one in looked_at if one["install"] is not None}
    absent |= {name: install_command(name) for name in _absent(names)}
    plugins = [one for one in looked_at if one.pop("install") is None]
    found = {
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
            "environment": sys.prefix,
            "pip": pip_here(),
        },
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "core": distributions.describe("forge-core"),
        "plugins": plugins,
        "not_installed": absent,
        "damaged": _damaged(),
        "model_file": model_file,
        "cache": cache,
        "environment": {
            name: shown(value, name) for name, value in sorted(os.environ.items()) if name.startswith(_PREFIX)
        },
        "broken": sum(one["problem"] is not None for one in (*plugins, model_file, cache)),
    }
    clean: dict[str, Any] = _clean(found)
    return clean


def _absent(names: Sequence[str]) -> list[str]:
    return [name for name in DISTRIBUTIONS if not BACKENDS.contributions(name) and (not names or name in names)]


def _damaged() -> list[dict[str, str]]:
    """Installations that can't be read; whether they hold a plugin nobody can say."""
    return [{"path": path, "problem": reason} for path, reason in damaged_distributions().items()]


def _model_file() -> dict[str, Any]:
    file = ModelFile()
    about: dict[str, Any] = {
        "path": str(file.path),
        "exists": file.path.exists(),
        "models": [],
        "problem": None,
        "note": None,
    }
    try:
        about["models"] = list(file.load())
        default = LlamaForge().default_model
        if default not in LlamaForge().list_models():
            about["problem"] = f"Its default, {default!r}, is not a model. Name another: llamaforge models default NAME"
    except LlamaForgeError as error:
        about["problem"] = str(error)
    if os.name == "posix" and about["exists"] and file.path.stat().st_mode & _OTHERS:
        about["note"] = f"Other users can read it. If it contains keys, run: chmod 600 {file.path}"
    return about


def _cache() -> dict[str, Any]:
    folder = cache_folder()
    about: dict[str, Any] = {"path": str(folder), "exists": folder.is_dir(), "files": 0, "bytes": 0, "problem": None}
    if not folder.exists():
        return about
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        about["problem"] = "It is not a folder that can be read and written. Set LLAMAFORGE_CACHE to another one."
        return about
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                about["bytes"] += (Path(where) / name).lstat().st_size
                about["files"] += 1
            except OSError:
                continue  # another process tidied up
    return about


def _clean(value: Any) -> Any:
    """*value* with known secrets masked in every text, whoever wrote it."""
    if isinstance(value, dict):
        return {key: _clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_clean(inner) for inner in value]
    return cleaned(value) if isinstance(value, str) else value
