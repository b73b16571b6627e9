"""Backends for OpenAI-compatible servers: connected to, or started, watched and ended by us."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backend import OpenAIServerBackend
    from .config import Extensions, OpenAIServerConfig

_HOMES = {"Extensions": "config", "OpenAIServerBackend": "backend", "OpenAIServerConfig": "config"}

__all__ = ["Extensions", "OpenAIServerBackend", "OpenAIServerConfig"]


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
