"""What a plugin says of its backend. Standard library only, so that a plugin's module stays light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

API_VERSION: Final = 1
"""The version of the contract between core and plugins. It goes up when a plugin has to change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a backend can do. What is not declared is refused before any work."""

    parameters: frozenset[str] = frozenset()
    """Canonical generation parameters that are honoured. raw, timeout and on_unsupported belong to core: every
    backend has them (``engine`` only where ``engine_options`` are named)."""
    engine_options: frozenset[str] = frozenset()
    """Names that ``engine={...}`` may hold."""
    images: bool = False
    """Whether messages may hold images."""
    server_defaults: bool = False
    """True where a parameter that is not set is the server's to choose; otherwise core's defaults apply."""


def _no_model(location: str) -> int:
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendSpec:
    """A backend, described without importing its engine."""

    name: str
    """The entry point's name."""
    target: str
    """The backend's class, as ``module:Class``; imported when it is first used."""
    config: str
    """The class of its load parameters (a :class:`llamaforge.backends.config.BackendConfig`), as ``module:Class``."""
    summary: str
    """One line: what it runs."""
    capabilities: Capabilities = field(default_factory=Capabilities)
    match: Callable[[str], int] = _no_model
    """How well it suits a model, where the caller names no backend: 0 for not at all, up to 100. Its argument is a
    local path, a hub id, or the path of a file that is still to be fetched."""
    engine: str | None = None
    """The distribution whose version matters to users (``torch``), for ``llamaforge doctor``."""
    probe: str | None = None
    """``module:function`` that tells ``llamaforge doctor`` about accelerators. It takes nothing and returns a dict
    with ``compiled``, ``visible``, ``used`` and ``advice`` (lists of str), or some of them. It runs in a process of its
    own, so that an engine which crashes while it is imported is reported like any other failure."""
    repair: str | None = None
    """The command that installs the engine anew, which ``llamaforge doctor`` shows where importing it fails or crashes.
    None: pip's, for the distribution named in *engine*."""
    api_version: int = API_VERSION
    """The contract version it was written for."""
