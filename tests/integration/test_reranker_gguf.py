"""A GGUF reranker is accepted where its scores are the model's own: those that torch computes from the same weights."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llamaforge import get_backend
from llamaforge.errors import InvalidModelError, ServerStartError
from llamaforge.testing import RerankConformance

pytestmark = pytest.mark.engine

ACCEPTED, REFUSED = 13, 0
"""Seeds: one whose weights happen to tell plain answers from nonsense, and one whose weights don't."""
PAIRS = [("fog", "the tide"), ("a b c", "the lamp burns all day"), ("when", "x"), ("q" * 30, "The sea, at night!")]


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    from support.gguf_rerankers import make_reranker

    path = tmp_path_factory.mktemp("reranker") / "reranker.gguf"
    return path, make_reranker(path, ACCEPTED)


def test_scores_are_those_of_torch(reranker: tuple[Path, Any]) -> None:
    import torch

    path, model = reranker
    with get_backend("llama.cpp")() as backend:
        backend.load_model(path, {"flash_attn": False})
        assert backend.capabilities.tasks == {"rerank"}
        engine = backend._engine  # type: ignore[attr-defined]
        for query, document in PAIRS:
            ids = torch.tensor([engine.tokenize_pair(query, document).token_ids])
            with torch.inference_mode():
                logit = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.item()
            score = backend.rerank(query, [document])[0].score
            assert score == pytest.approx(1 / (1 + math.exp(-logit)), abs=2e-3)


def test_one_that_tells_nothing_apart_is_refused(tmp_path: Path) -> None:
    from support.gguf_rerankers import make_reranker

    make_reranker(tmp_path / "reranker.gguf", REFUSED)
    server = {"n_threads": 1, "n_parallel": 1}
    for name, parameters, error in (("llama.cpp", {}, InvalidModelError), ("llama-server", server, ServerStartError)):
        with pytest.raises(error, match="scores are not its own"):
            get_backend(name)().load_model(tmp_path / "reranker.gguf", parameters)


@pytest.fixture(scope="module", autouse=True)
def own_logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.delenv("LLAMAFORGE_LLAMA_SERVER_EXECUTABLE", raising=False)
        yield


def test_llama_server_ranks_alike(reranker: tuple[Path, Any]) -> None:
    path, _ = reranker
    documents = [document for _, document in PAIRS]
    with get_backend("llama.cpp")() as local, get_backend("llama-server")() as server:
        local.load_model(path)
        server.load_model(path, {"n_threads": 1, "n_parallel": 1})
        assert server.capabilities.tasks == {"rerank"}
        for query, _ in PAIRS:
            wanted, found = (
                {each.index: each.score for each in backend.rerank(query, documents)} for backend in (local, server)
            )
            assert found == pytest.approx(wanted, abs=2e-3)
            assert {each.index: each.score for each in asyncio.run(server.arerank(query, documents))} == found


class TestReranker(RerankConformance):
    backend = "llama.cpp"
    rounding = 2e-3

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _model(cls, reranker: tuple[Path, Any]) -> None:
        cls.model = reranker[0]
