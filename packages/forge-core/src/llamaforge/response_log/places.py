"""Where the log is, and whether the commands of ``llamaforge`` write it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

VARIABLE: Final = "LLAMAFORGE_LOG"
"""The environment variable that names another file."""


def log_file() -> Path:
    """The file of the log; it need not exist."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("llamaforge", appauthor=False)) / "responses.db"


def is_on() -> bool:
    """Whether ``llamaforge logs on`` was called last, and not ``off``."""
    return _mark().exists()


def turn(*, on: bool) -> None:
    """Turn the log on or off for the commands of ``llamaforge``. Raises OSError."""
    mark = _mark()
    if on:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch(mode=0o600)
    else:
        mark.unlink(missing_ok=True)


def _mark() -> Path:
    path = log_file()
    return path.with_name(f"{path.name}.on")
