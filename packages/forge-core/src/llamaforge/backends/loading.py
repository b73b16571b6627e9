"""What loading a model takes: an engine's library imported late, and whatever goes wrong as a typed error."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

from ..errors import EngineNotAvailableError, LlamaForgeError, ModelLoadError


@contextlib.contextmanager
def loading(model_path: str) -> Iterator[None]:
    """Whatever a backend's own code raises while it loads becomes a ModelLoadError; typed errors pass."""
    try:
        yield
    except LlamaForgeError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelLoadError(model_path, f"{type(error).__name__}: {error}") from error


def import_engine(module: str, *, backend: str, advice: str) -> ModuleType:
    """Import an engine's library when a model is loaded, never before.

    Raises EngineNotAvailableError with *advice* whatever the library raises: a missing shared library is a
    RuntimeError or an OSError in some of them.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise EngineNotAvailableError(backend, module, f"{type(error).__name__}: {error}", advice) from error
