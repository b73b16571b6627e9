"""The Hugging Face backend of LlamaForge: transformers models on torch.

Importing this package imports no engine; that happens when a model is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .backend import HuggingFaceBackend
    from .config import HuggingFaceConfig

_HOMES = {"HuggingFaceBackend": "backend", "HuggingFaceConfig": "config"}

__all__ = ["HuggingFaceBackend", "HuggingFaceConfig", "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
