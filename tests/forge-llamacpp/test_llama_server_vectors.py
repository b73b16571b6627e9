"""The backend llama-server for vectors and rankings: a real server, started and ended by us."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from forge_llamacpp import LlamaCppBackend
from forge_llamacpp.server.__main__ import parser
from forge_llamacpp.server.backend import LlamaServerBackend
from forge_llamacpp.server.config import LlamaServerConfig
from forge_openai import OpenAIBackend
from llamaforge.errors import (
    ContextOverflowError,
    InvalidModelError,
    InvalidParameterError,
    ServerError,
    UnsupportedError,
)
from llamaforge.testing import EmbeddingConformance
from support.gguf_encoders import WIDTH, make_tiny_encoder

pytestmark = pytest.mark.engine

SMALL: dict[str, Any] = {"n_parallel": 2, "n_threads": 1}
TEXTS = ["fog", "the tide comes in twice a day", "a", "The lamp burns all day."]


@pytest.fixture(scope="module", autouse=True)
def own_logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.delenv("LLAMAFORGE_LLAMA_SERVER_EXECUTABLE", raising=False)
        yield


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder") / "encoder.gguf")


@pytest.fixture(scope="module")
def running(encoder: Path) -> Iterator[LlamaServerBackend]:
    with LlamaServerBackend({**SMALL, "model": str(encoder), "served_model_name": "encoder"}) as backend:
        yield backend


def test_its_vectors_are_those_of_the_engine_in_this_process(running: LlamaServerBackend, encoder: Path) -> None:
    assert running.capabilities.tasks == {"embed"}
    found = running.embed(TEXTS)
    with LlamaCppBackend() as local:
        local.load_model(encoder)
        wanted = local.embed(TEXTS)
    assert np.abs(np.asarray(found) - np.asarray(wanted)).max() < 2e-3
    assert found.usage == wanted.usage
    assert np.asarray(asyncio.run(running.aembed(TEXTS))).shape == (len(TEXTS), WIDTH)
    assert len(running.embed(f"text {number}" for number in range(300))) == 300
    with pytest.raises(UnsupportedError, match="loaded for embed"):
        running.generate("Hi")


def test_its_limits_have_names(running: LlamaServerBackend) -> None:
    for many in (300, 5_000):  # the server has a message of its own for each
        for ask in (running.embed, lambda texts: asyncio.run(running.aembed(texts))):
            with pytest.raises(ContextOverflowError, match=r"texts\[1\] has") as caught:
                ask(["fine", "x " * many])
            assert (caught.value.prompt_tokens, caught.value.context_size) == (many + 2, 256)
    for option in ({"dimensions": 8}, {"prompt_name": "query"}, {"truncation": "auto"}):
        with pytest.raises(UnsupportedError, match=next(iter(option))):
            running.embed("x", **option)
    assert len(running.embed("fog")) == 1


def test_other_backends_use_the_same_server(running: LlamaServerBackend) -> None:
    wanted = np.asarray(running.embed(TEXTS))
    assert running.endpoint is not None
    with LlamaServerBackend({"endpoint": running.endpoint, "task": "embed"}) as other:
        other.connect()
        assert np.abs(np.asarray(other.embed(TEXTS)) - wanted).max() < 2e-3
    with OpenAIBackend() as other:
        other.load_model("encoder", {"api_base": f"{running.endpoint}/v1"})
        assert np.abs(np.asarray(other.embed(TEXTS)) - wanted).max() < 2e-3
        with pytest.raises(ServerError, match="rerank"):
            other.rerank("fog", TEXTS)


def test_what_the_engine_refuses_the_server_refuses_before_it_starts(tmp_path: Path) -> None:
    path = make_tiny_encoder(tmp_path / "encoder.gguf", bert__pooling_type=None)
    backend = LlamaServerBackend()
    with pytest.raises(InvalidParameterError, match="pooling is missing"):
        backend.load_model(str(path), SMALL)
    with pytest.raises(InvalidModelError, match='task="embed"'):
        backend.load_model(str(path), {**SMALL, "task": "generate"})
    with pytest.raises(InvalidModelError, match="classifier"):
        backend.load_model(str(path), {**SMALL, "task": "rerank"})


def test_its_flags_are_those_that_its_own_program_reads(encoder: Path) -> None:
    def flags(**given: Any) -> Any:
        config = LlamaServerConfig(model=str(encoder), port=5000, **given)
        return parser().parse_args(LlamaServerBackend(config).build_launch_command()[1:])

    assert flags().embeddings
    assert flags(n_batch=64).ubatch_size == 256  # the longest text
    assert flags(task="embed", pooling="last").pooling == "last"
    assert flags(task="rerank").reranking
    assert not flags(task="generate").embeddings


class TestVectorsOfLlamaServer(EmbeddingConformance):
    backend = "llama-server"
    rounding = 2e-3
    parameters: ClassVar = SMALL

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _model(cls, encoder: Path) -> None:
        cls.model = encoder
