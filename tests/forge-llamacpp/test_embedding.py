"""Vectors and scores through llama.cpp's low level."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge_llamacpp import LlamaCppBackend
from llamaforge.backends.registry import match_backend
from llamaforge.errors import (
    ContextOverflowError,
    InvalidModelError,
    InvalidParameterError,
    LlamaForgeError,
    UnsupportedError,
)
from llamaforge.formats.tasks import model_task
from llamaforge.testing import EmbeddingConformance
from support.gguf_encoders import WIDTH, make_tiny_encoder
from support.gguf_files import make_tiny_gguf

FULL_HEAD: dict[str, tuple[int, ...]] = {
    "cls.weight": (WIDTH, WIDTH),
    "cls.bias": (WIDTH,),
    "cls.output.weight": (1, WIDTH),
    "cls.output.bias": (1,),
}
RANK = np.uint32(4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Path:
    return make_tiny_encoder(folder / "encoder.gguf")


@pytest.fixture(scope="module")
def decoder(folder: Path) -> Path:
    return make_tiny_gguf(folder / "decoder.gguf")


def load(path: Path, **parameters: Any) -> LlamaCppBackend:
    backend = LlamaCppBackend()
    backend.load_model(path, parameters)
    return backend


class TestEncoder(EmbeddingConformance):
    backend = "llama.cpp"
    rounding = 1e-3
    parameters: ClassVar = {"prompts": {"query": "query: "}}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _model(cls, encoder: Path) -> None:
        cls.model = encoder


class TestDecoderWithAPooling(EmbeddingConformance):
    backend = "llama.cpp"
    rounding = 1e-3
    parameters: ClassVar = {"task": "embed", "pooling": "mean"}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _model(cls, decoder: Path) -> None:
        cls.model = decoder


def test_an_encoders_file_shows_its_task(encoder: Path, decoder: Path) -> None:
    assert (model_task(encoder), model_task(decoder)) == ("embed", "generate")
    assert match_backend(str(encoder)) == "llama.cpp"
    with load(encoder) as backend:
        assert backend.capabilities.tasks == {"embed"}
        assert backend.memory().host > 0  # type: ignore[union-attr]
        with pytest.raises(UnsupportedError, match="loaded for embed"):
            backend.generate("hi")


def test_the_pooling_is_what_it_says(encoder: Path) -> None:
    text = [2, 10, 20, 3]
    rows = {}
    for pooling in ("mean", "cls", "last"):
        with load(encoder, pooling=pooling) as backend:
            rows[pooling] = np.asarray(backend.embed(text, normalize=False))[0]
            rows[pooling, 1] = np.asarray(backend.embed([2], normalize=False))[0]
    assert np.abs(rows["mean"] - rows["cls"]).max() > 0.01 < np.abs(rows["cls"] - rows["last"]).max()
    assert np.allclose(rows["mean", 1], rows["cls", 1], atol=1e-5)  # of one token, all of them
    assert np.allclose(rows["last", 1], rows["cls", 1], atol=1e-5)
    with load(encoder) as backend:
        assert np.allclose(np.asarray(backend.embed(text, normalize=False))[0], rows["mean"])


def test_prompts_are_put_before_texts(encoder: Path) -> None:
    with load(encoder, prompts={"query": "query: "}) as backend:
        assert list(backend.embed("fog", prompt_name="query")[0]) == list(backend.embed("query: fog")[0])
        with pytest.raises(InvalidParameterError, match="'query'"):
            backend.embed("fog", prompt_name="document")


def test_special_tokens_stay_around_a_text_that_is_cut(encoder: Path) -> None:
    with load(encoder, n_ctx=6) as backend:
        with pytest.raises(ContextOverflowError) as caught:
            backend.embed(["a b c d e f g"])
        assert (caught.value.prompt_tokens, caught.value.context_size) == (9, 6)
        cut = backend.embed("a b c d e f g", truncation="auto")
        assert list(cut[0]) == list(backend.embed("a b c d")[0])
        assert cut.usage is not None
        assert cut.usage.truncated_tokens == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=8)
@given(
    lengths=st.lists(st.sampled_from([0, 1, 40, 90, 600, 100_000]), max_size=4),
    many=st.sampled_from([0, 1, 257]),
    width=st.sampled_from([1, 64, None]),
)
def test_no_input_ends_the_process(encoder: Path, lengths: list[int], many: int, width: int | None) -> None:
    texts = [("ab " * length)[:length] for length in lengths] + ["x"] * many
    with load(encoder, **({} if width is None else {"n_batch": width})) as backend:
        try:
            vectors = backend.embed(texts, truncation="auto")
        except LlamaForgeError:
            assert 0 in lengths
        else:
            assert vectors.vectors.shape == ((len(texts), WIDTH) if texts else (0, 0))
        ids = [min(length, 2**31 - 1) for length in lengths] or [0]
        try:
            backend.embed([ids])
        except LlamaForgeError:
            assert max(ids) >= 192 or len(ids) > 256


@pytest.mark.parametrize("task", ["embed", "rerank"])
@pytest.mark.parametrize("given", [{"general__file_type": np.uint32(0)}, {}], ids=["a file of floats", "asked for"])
def test_a_vector_does_not_depend_on_its_neighbours(
    folder: Path, given: dict[str, Any], task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if task == "rerank":
        monkeypatch.setattr("forge_llamacpp.embedding.LlamaCppEmbeddingEngine._check_scores", lambda _: None)
        given = given | {"bert__pooling_type": RANK, "tokenizer__ggml__token_type_count": np.uint32(1)}
    path = make_tiny_encoder(folder / "exact.gguf", head=FULL_HEAD if task == "rerank" else None, **given)
    texts = [("fog and the sea " * length)[: 3 * length + 1] for length in (1, 2, 5, 9, 13, 16, 17, 31, 33, 64)] * 3
    parameters = {} if "general__file_type" in given else {"flash_attn": False}
    with load(path, **parameters) as backend:
        if task == "embed":
            among = np.asarray(backend.embed(texts))
            alone = np.concatenate([np.asarray(backend.embed(text)) for text in texts])
        else:
            among = np.array([ranked.score for ranked in sorted(backend.rerank("a", texts), key=lambda one: one.index)])
            alone = np.array([backend.rerank("a", [text])[0].score for text in texts])
        assert np.abs(among - alone).max() < 1e-6


@pytest.mark.parametrize("flash_attn", [None, False])
@pytest.mark.parametrize(
    "given",
    [{"n_batch": width} for width in (1, 2, 15, 17, 100, 255, 257, 384, 1000)] + [{"n_ctx": 300}, {"n_ctx": 301}],
    ids=str,
)
def test_no_width_ends_the_process(folder: Path, given: dict[str, int], flash_attn: bool | None) -> None:
    path = make_tiny_encoder(folder / "wide.gguf", context=512)
    with load(path, flash_attn=flash_attn, **given) as backend:
        texts = ["a b c " * length for length in (1, 1, 1, 20, 40)]
        assert len(backend.embed(texts)) == len(texts)


def test_thousands_of_texts(encoder: Path) -> None:
    with load(encoder) as backend:
        assert len(backend.embed("fog" for _ in range(1_000))) == 1_000


@pytest.mark.parametrize(
    ("made", "parameters", "error", "match"),
    [
        ({}, {"task": "generate"}, InvalidModelError, r'an encoder.*task="embed"'),
        ({}, {"task": "rerank"}, InvalidModelError, r"its classifier .* is missing"),
        ({"bert__pooling_type": None}, {}, InvalidParameterError, "pooling is missing: the file"),
        ({"bert__pooling_type": np.uint32(0)}, {}, InvalidParameterError, "pooling is missing: the file"),
        ({"bert__pooling_type": np.uint32(9)}, {}, InvalidModelError, "pooling_type is 9"),
        ({"head": FULL_HEAD, "bert__pooling_type": RANK}, {"task": "embed"}, InvalidModelError, "is a reranker"),
        ({"head": {"cls.output.weight": (1, WIDTH)}, "bert__pooling_type": RANK}, {}, InvalidModelError, "pooler"),
        ({"head": FULL_HEAD, "bert__pooling_type": RANK}, {}, InvalidModelError, "segments"),
        (
            {"head": FULL_HEAD, "bert__pooling_type": RANK, "tokenizer__ggml__token_type_count": np.uint32(1)},
            {"pooling": "mean"},
            InvalidParameterError,
            r"pooling can't be used.*'rerank'",
        ),
    ],
)
def test_what_would_give_other_vectors_or_scores_is_refused(
    folder: Path, made: dict[str, Any], parameters: dict[str, Any], error: type[Exception], match: str
) -> None:
    path = make_tiny_encoder(folder / "refused.gguf", **made)
    with pytest.raises(error, match=match):
        load(path, **parameters)


def test_a_reranker_that_tells_nothing_apart_is_refused(folder: Path) -> None:
    """Its weights are random: it passes for a whole one, until it is asked."""
    extra = {"bert__pooling_type": RANK, "tokenizer__ggml__token_type_count": np.uint32(1)}
    path = make_tiny_encoder(folder / "reranker.gguf", head=FULL_HEAD, **extra)
    with pytest.raises(InvalidModelError, match="scores are not its own"):
        load(path)


def test_missing_flags_are_noticed(decoder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), load(decoder, task="embed", pooling="last"):
        assert "add_eos_token" in caplog.text
    caplog.clear()
    known = {"tokenizer.ggml.add_eos_token": True}
    with caplog.at_level(logging.WARNING), load(decoder, task="embed", pooling="last", kv_overrides=known):
        assert "add_eos_token" not in caplog.text


def test_parameters_of_other_tasks_have_no_effect_and_are_refused(decoder: Path) -> None:
    with pytest.raises(InvalidParameterError, match=r"pooling can't be used.*'generate'"):
        load(decoder, pooling="mean")
    with pytest.raises(InvalidParameterError, match="pooling is missing: the file"):
        load(decoder, task="embed")
