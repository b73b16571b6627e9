"""A real server over models that cost nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from forge_serve import ServeConfig
from llamaforge import LlamaForge
from llamaforge.backends.registry import register_backend
from llamaforge.testing.fakes import ToyBackend
from support.serving import Running, Scripted, Serve, running


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[LlamaForge]:
    """Scripted models and the toy."""
    register_backend("scripted", Scripted, replace=True)
    register_backend("toy", ToyBackend, replace=True)
    for state in (Scripted.cancelled, Scripted.begun, Scripted.gate):
        state.clear()
    Scripted.asked.clear()
    Scripted.loads.clear()
    with LlamaForge(tmp_path / "models.toml") as forge:
        for name in ("one", "two", "slow", "broken"):
            forge.add_model(name, name, backend="scripted")
        forge.add_model("toy", "toy", backend="toy", parameters={"n_ctx": 64})
        forge.add_model("echo", "echo", backend="echo", parameters={"n_ctx": 64})
        for task in ("embed", "rerank"):
            forge.add_model(task, task, backend="echo", parameters={"task": task, "n_ctx": 64})
        yield forge


@pytest.fixture
def serve(forge: LlamaForge) -> Serve:
    """Starts a server: ``with serve(max_queue=2) as server``."""
    return lambda **settings: running(forge, ServeConfig(**settings))


@pytest.fixture
def server(serve: Serve) -> Iterator[Running]:
    """One with the default settings."""
    with serve() as server:
        yield server
