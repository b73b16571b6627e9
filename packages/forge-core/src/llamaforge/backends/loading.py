"""Loading a model: the engine's library is imported late, and every failure becomes a typed error."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from types import ModuleType

from ..errors import (
    EngineNotAvailableError,
    InvalidModelError,
    InvalidParameterError,
    LlamaForgeError,
    ModelLoadError,
)
from ..files import special_file
from ..formats.local import local_path


def checked_path(model_path: str | os.PathLike[str]) -> str:
    """*model_path* as text.

    Raises InvalidParameterError for what is no path, and InvalidModelError for a device, a pipe or a socket: an engine
    that reads one may never come back.
    """
    path = os.fspath(model_path) if isinstance(model_path, str | os.PathLike) else None
    if not isinstance(path, str):
        raise InvalidParameterError("model_path", model_path, "a path or a model's name, as text")
    path = str.__str__(path)
    if (kind := special_file(local_path(path))) is not None:
        raise InvalidModelError(path, f"it is {kind}, not a file or a folder.")
    return path


@contextlib.contextmanager
def loading(model_path: str) -> Iterator[None]:
    """Turn exceptions of a backend's own code into ModelLoadError; typed errors pass unchanged."""
    try:
        yield
    except LlamaForgeError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelLoadError(model_path, f"{type(error).__name__}: {error}") from error


def import_engine(module: str, *, backend: str, advice: str) -> ModuleType:
    """Import an engine's library. Call it when a model is loaded, not before.

    Raises EngineNotAvailableError with *advice* for any exception of the import: a missing shared library may be a
    RuntimeError or an OSError.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise EngineNotAvailableError(backend, module, f"{type(error).__name__}: {error}", advice) from error
