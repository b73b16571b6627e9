"""Loading a model: the engine's library is imported late, and every failure becomes a typed error."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

from ..errors import EngineNotAvailableError, LlamaForgeError, ModelLoadError


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
