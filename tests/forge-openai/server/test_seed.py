"""The seed's document on adding a backend: its example and its test, as they stand there, with our import paths."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from llamaforge import get_backend, register_backend
from llamaforge.backends import BackendConfigBase, OpenAIServerBackend, registry
from llamaforge.backends.base import BaseBackend
from llamaforge.backends.connectable import ConnectableBackend
from llamaforge.backends.managed import ManagedBackend
from llamaforge.errors import InvalidParameterError, ServerProgramNotFoundError
from support.processes import survivors, tree
from support.servers import LiveServer

LAUNCHER = """#!{python}
import os, sys
flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
os.execv({python!r}, [{python!r}, "-m", "forge_llamacpp.server", "--model", flags.pop("--model-id"),
                      "--port", flags.pop("--port"), "--ctx-size", "1024", "--threads", "1"])
"""
"""Takes the seed's flags, and runs a real server that speaks OpenAI's API."""


# config.py
class TGIConfig(BackendConfigBase):
    type: Literal["tgi"] = "tgi"
    endpoint: str | None = None
    model: str | None = None
    max_batch_prefill_tokens: int | None = None
    max_total_tokens: int | None = None


# backend.py
class TGIBackend(OpenAIServerBackend[TGIConfig]):
    def health_endpoint(self) -> str:
        return "/health"

    def build_launch_command(self) -> list[str]:
        return [
            "text-generation-launcher",
            "--model-id", self.config.model,
            "--port", str(self.config.port),
        ]  # fmt: skip


@pytest.fixture
def config(openai_server: LiveServer) -> TGIConfig:
    return TGIConfig(endpoint=openai_server.base_url.removesuffix("/v1"))


@pytest.mark.asyncio
async def test_health(config: TGIConfig, openai_server: LiveServer) -> None:
    backend = TGIBackend(TGIBackend.config_class.read({"endpoint": config.endpoint, "api_key": openai_server.api_key}))
    await backend.connect(config.endpoint)
    assert await backend.health()
    assert await backend.agenerate("Hi", max_tokens=2)


@pytest.mark.asyncio
async def test_health_as_it_stands(config: TGIConfig) -> None:
    backend = TGIBackend(config)
    assert await backend.health()


def test_the_kinds() -> None:
    assert TGIBackend.__mro__.index(ManagedBackend) < TGIBackend.__mro__.index(ConnectableBackend)
    assert issubclass(ConnectableBackend, BaseBackend)
    assert TGIBackend().name == "tgi"
    assert {"max_tokens", "tools"} <= TGIBackend().capabilities.parameters
    with pytest.raises(InvalidParameterError, match="max_total_tokens"):
        _ = TGIBackend({"max_total_tokens": "many"}).config
    with pytest.raises(InvalidParameterError, match="type"):
        _ = TGIBackend({"type": "vllm"}).config


def test_it_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    register_backend("seed-tgi", TGIBackend)
    assert get_backend("seed-tgi") is TGIBackend


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "text-generation-launcher"
    path.write_text(LAUNCHER.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return path


def test_it_starts_its_server_and_ends_it(launcher: Path, gguf_model: Path) -> None:
    with TGIBackend(TGIConfig(model=str(gguf_model))) as backend:
        assert backend.config.model == str(gguf_model)
        assert backend.generate("What is the capital of France?", max_tokens=3, temperature=0)
        assert backend.server_pid is not None
        family = tree(backend.server_pid)
    assert not survivors(family, 0)


def test_the_launcher_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerProgramNotFoundError, match="LLAMAFORGE_TGI_EXECUTABLE"):
        TGIBackend({"model": "m"}).start()
    other: Any = TGIBackend({"model": "m", "executable": "/nowhere/launcher"})
    with pytest.raises(ServerProgramNotFoundError, match="/nowhere/launcher"):
        other.start()
