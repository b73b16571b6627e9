"""A plugin's declaration of its backend. Standard library only, so that the plugin's module is cheap to import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

API_VERSION: Final = 1
"""The version of the contract between core and plugins. It increases when plugins have to change."""

Task = Literal["generate", "embed", "rerank"]
"""What a model is for: text, vectors, or scores of documents."""
TASKS: Final[frozenset[Task]] = frozenset({"generate", "embed", "rerank"})
"""All of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a backend supports. Anything else is refused before any work is done."""

    tasks: frozenset[Task] = frozenset({"generate"})
    """What it does: ``generate``, ``embed``, ``rerank``. A loaded model may do less than its backend can."""
    parameters: frozenset[str] = frozenset()
    """Canonical generation parameters that the backend honours. Core handles raw, timeout and on_unsupported for every
    backend, and ``engine`` if ``engine_options`` are declared."""
    engine_options: frozenset[str] = frozenset()
    """Names that ``engine={...}`` may contain."""
    embedding: frozenset[str] = frozenset()
    """Parameters of ``embed`` that the backend honours: ``dimensions``, ``normalize``, ``prompt_name``,
    ``truncation``. The last one is also ``rerank``'s."""
    images: bool = False
    """Whether messages may contain images."""
    server_defaults: bool = False
    """Whether a server chooses unset parameters; otherwise core's defaults apply."""


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
    """One line that says what it runs."""
    capabilities: Capabilities = field(default_factory=Capabilities)
    match: Callable[[str], int] = _no_model
    """Rates how well it suits a model if the caller names no backend, from 0 (not at all) to 100. Its argument is a
    local path, a hub id, or the path of a file that is yet to be downloaded."""
    engine: str | None = None
    """The distribution whose version matters to users (``torch``), for ``llamaforge doctor``."""
    probe: str | None = None
    """``module:function`` that tells ``llamaforge doctor`` about accelerators. It takes no arguments and returns a dict
    with ``compiled``, ``visible``, ``used`` and ``advice`` (lists of str), or some of them. It runs in a separate
    process, so that even a crash on import is reported."""
    repair: str | None = None
    """The command that reinstalls the engine, which ``llamaforge doctor`` shows if importing it fails or crashes.
    None: pip's, for the distribution named in *engine*."""
    api_version: int = API_VERSION
    """The contract version it was written for."""
