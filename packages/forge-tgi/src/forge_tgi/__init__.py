"""The TGI backend of LlamaForge: connects to Text Generation Inference, or starts and ends one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .backend import TGIBackend
    from .config import TGIConfig

_HOMES = {"TGIBackend": "backend", "TGIConfig": "config"}

__all__ = ["TGIBackend", "TGIConfig", "__version__"]


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
