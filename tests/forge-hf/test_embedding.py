"""Vectors and scores on torch: small random models, beside what sentence-transformers and transformers give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from forge_hf import HuggingFaceBackend
from llamaforge.errors import ContextOverflowError, InvalidModelError, InvalidParameterError, UnsupportedError
from llamaforge.testing import EmbeddingConformance, RerankConformance

TEXTS = ["the tide comes in", "a dog", "whisk two eggs with flour and milk and wait for an hour", "fog"]
_LETTERS = [chr(code) for code in range(33, 127)]


def make_model(folder: Path, kind: Any, **settings: Any) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    tokenizer = Tokenizer(WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, model_max_length=256, **named)
    fast.save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(words), max_position_embeddings=256, initializer_range=0.3, **sizes, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        kind(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("encoder"), BertModel)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with sentence-transformers' files: mean pooling, vectors of length 1, prompts."""
    folder = make_model(tmp_path_factory.mktemp("sentences"), BertModel)
    names = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"idx": number, "name": str(number), "path": "" if number == 0 else f"{number}_{name}",
         "type": f"sentence_transformers.models.{name}"}
        for number, name in enumerate(names)
    ]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 128, "do_lower_case": false}')
    prompts = {"prompts": {"query": "find: ", "document": ""}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir()
    return folder


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("reranker"), BertForSequenceClassification, num_labels=1)


def load(path: Path, **parameters: Any) -> HuggingFaceBackend:
    backend = HuggingFaceBackend()
    backend.load_model(path, {"device": "cpu", **parameters})
    return backend


class TestSentences(EmbeddingConformance):
    backend = "huggingface"
    parameters: ClassVar = {"device": "cpu"}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _model(cls, sentences: Path) -> None:
        cls.model = sentences


class TestReranker(RerankConformance):
    backend = "huggingface"
    parameters: ClassVar = {"device": "cpu"}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _model(cls, reranker: Path) -> None:
        cls.model = reranker


def test_vectors_are_those_of_sentence_transformers(sentences: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    reference = sentence_transformers.SentenceTransformer(str(sentences), device="cpu")
    with load(sentences) as backend:
        for prompt in (None, "query", "document"):
            ours = np.asarray(backend.embed(TEXTS, prompt_name=prompt))
            theirs = reference.encode(TEXTS, prompt_name=prompt)
            assert np.sum(ours * theirs, axis=1).min() > 0.999999
        assert np.allclose(np.asarray(backend.embed(TEXTS))[2], np.asarray(backend.embed(TEXTS[2]))[0], atol=1e-5)
        assert backend.capabilities.tasks == {"embed"}
        assert backend.memory() is not None
        with pytest.raises(ContextOverflowError, match="at most 128"):
            backend.embed("a " * 130)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_plain_encoder_pools_as_asked(encoder: Path, pooling: Any) -> None:
    model = BertModel.from_pretrained(encoder).eval()
    with load(encoder, pooling=pooling) as backend, torch.inference_mode():
        ours = np.asarray(backend.embed(TEXTS, normalize=False))
        for text, row in zip(TEXTS, ours, strict=True):
            ids = torch.tensor([backend._engine.tokenize(text).token_ids])  # type: ignore[union-attr, arg-type]
            states = model(ids).last_hidden_state[0]
            wanted = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]
            assert np.allclose(row, wanted.numpy(), atol=1e-4)


def test_pooling_is_never_guessed(encoder: Path, sentences: Path, reranker: Path) -> None:
    with pytest.raises(InvalidParameterError, match="pooling must be given"):
        load(encoder, task="embed")
    with pytest.raises(InvalidModelError, match="BertModel is not a model that continues text"):
        load(encoder)
    with pytest.raises(InvalidParameterError, match="pooling must be left out"):
        load(sentences, pooling="mean")
    with pytest.raises(InvalidParameterError, match="pooling must be left out"):
        load(reranker, task="rerank", pooling="mean")


def test_scores_are_the_logistic_function_of_the_models_logits(reranker: Path) -> None:
    model = BertForSequenceClassification.from_pretrained(reranker).eval()
    with load(reranker) as backend, torch.inference_mode():
        tokenizer = backend._engine._tokenizer  # type: ignore[union-attr]
        for ranked in backend.rerank("a dog", TEXTS):
            logit = model(**tokenizer("a dog", ranked.document, return_tensors="pt")).logits.item()
            assert ranked.score == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
        with pytest.raises(UnsupportedError, match="loaded for rerank"):
            backend.embed("text")


def test_a_classifier_is_no_reranker(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="3 classes"):
        load(make_model(tmp_path, BertForSequenceClassification, num_labels=3))
