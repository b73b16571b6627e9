"""Fixtures that several packages' tests share. A test that uses one of the real ones is marked `engine`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from support.hf_models import make_hf_model
from support.home import Home
from support.models import fetch_embedding_model, fetch_gguf
from support.servers import LiveServer, run_llama_server

ENGINE_FIXTURES = {"gguf_model", "hf_model", "embedding_model", "openai_server"}

# The same examples for everybody; `hatch run quick:fuzz` takes new ones. How long one takes is no property: on a busy
# machine it may be any time.
PROFILE: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow],
    "database": None,
}
hypothesis.settings.register_profile("fixed", derandomize=True, **PROFILE)
hypothesis.settings.register_profile("fuzz", derandomize=False, print_blob=True, **PROFILE)
hypothesis.settings.load_profile("fixed")

HOME = pytest.StashKey[Home]()


def pytest_configure(config: pytest.Config) -> None:
    """Run under nohup or in a shell's background, the signals that tests send would be ignored by all children."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    config.stash[HOME] = Home(getattr(config, "workerinput", {}).get("model_cache"))


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[HOME].leave()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `-n auto`. Many tests wait for servers and timeouts, so that a second worker pays even on one processor; each
    worker may load the real models, so that more than four would need much memory."""
    alone = config.getoption("--write-matrix", False) or all("::" in argument for argument in config.args)
    return 0 if alone else max(2, min(4, os.cpu_count() or 1))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """What a worker of pytest-xdist can't find out, whose home is in a folder of the tests already."""
    node.workerinput["model_cache"] = str(node.config.stash[HOME].model_cache)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if ENGINE_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("engine")


@pytest.fixture(scope="session")
def model_cache(pytestconfig: pytest.Config) -> Path:
    """The user's cache of models: what the real models are fetched into, once for all runs of the tests."""
    return pytestconfig.stash[HOME].model_cache


@pytest.fixture(scope="session")
def gguf_model(model_cache: Path) -> Path:
    """SmolLM2-135M-Instruct, Q4_1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMAFORGE_CACHE", str(model_cache))
        return fetch_gguf()


@pytest.fixture(scope="session")
def embedding_model(model_cache: Path) -> Path:
    """all-MiniLM-L6-v2, a folder of sentence-transformers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLAMAFORGE_CACHE", str(model_cache))
        return fetch_embedding_model()


@pytest.fixture(scope="session")
def hf_model(gguf_model: Path, model_cache: Path) -> Path:
    """The same model as a folder in transformers' format, bfloat16."""
    return make_hf_model(gguf_model, model_cache)


@pytest.fixture(scope="session")
def openai_server(gguf_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A real OpenAI-compatible server for the same model: base_url, api_key, model."""
    with run_llama_server(gguf_model, tmp_path_factory.mktemp("server") / "llama.log") as server:
        yield server
