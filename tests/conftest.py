"""Fixtures that several packages' tests share. A test that uses one of the real ones is marked `engine`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hf_models import make_hf_model
from support.models import fetch_gguf
from support.servers import LiveServer, run_llama_server

ENGINE_FIXTURES = {"gguf_model", "hf_model", "openai_server"}


def pytest_configure() -> None:
    """Run under nohup or in a shell's background, the signals that tests send would be ignored by all children."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ENGINE_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("engine")


@pytest.fixture(scope="session")
def gguf_model() -> Path:
    """SmolLM2-135M-Instruct, Q4_1."""
    return fetch_gguf()


@pytest.fixture(scope="session")
def hf_model(gguf_model: Path) -> Path:
    """The same model as a folder in transformers' format, bfloat16."""
    return make_hf_model(gguf_model)


@pytest.fixture(scope="session")
def openai_server(gguf_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A real OpenAI-compatible server for the same model: base_url, api_key, model."""
    with run_llama_server(gguf_model, tmp_path_factory.mktemp("server") / "llama.log") as server:
        yield server
