"""Backends: what runs a model. Listing them imports none of them."""

from __future__ import annotations

from .registry import get_backend, list_backends, register_backend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .base import BaseBackend
    from .config import BackendConfig
    from .config import BackendConfig as BackendConfigBase
    from .connectable import ConnectableBackend
    from .managed import ManagedBackend
    from .openai_server import OpenAIServerBackend

_HOMES = {
    "BackendConfig": "config",
    "BackendConfigBase": "config",
    "BaseBackend": "base",
    "ConnectableBackend": "connectable",
    "ManagedBackend": "managed",
    "OpenAIServerBackend": "openai_server",
}
"""The base classes, imported when they are first used. The last one needs forge-openai."""
_ALIASES = {"BackendConfigBase": "BackendConfig"}

__all__ = [
    "BackendConfig",
    "BackendConfigBase",
    "BaseBackend",
    "ConnectableBackend",
    "ManagedBackend",
    "OpenAIServerBackend",
    "get_backend",
    "list_backends",
    "register_backend",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{home}", __name__), _ALIASES.get(name, name))
    globals()[name] = value
    return value
