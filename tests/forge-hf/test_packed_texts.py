"""Short texts share a row where the model keeps them apart, and only there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    LlamaConfig,
    LlamaModel,
    RobertaConfig,
    RobertaModel,
)

from forge_hf.embedding import pooled
from forge_hf.packed_texts import Encoder, lay_out
from llamaforge.engine import TokenizedText

VOCABULARY, PAD = 200, 1
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 300,
    "initializer_range": 0.3,
    "pad_token_id": PAD,
}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
"""The same in DistilBERT's words."""


def make(kind: Any, config: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return kind(config).eval()


def encoder(model: Any, pooling: Any = "mean") -> Encoder:
    made = pooled(model, pooling)
    with torch.inference_mode():
        made.try_packing(VOCABULARY, pad=PAD, types=False)
    return made


KINDS = [(BertModel, BertConfig), (RobertaModel, RobertaConfig), (DistilBertModel, DistilBertConfig)]


@pytest.mark.parametrize("kind", KINDS, ids=["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_packed_texts_have_their_own_rows(kind: Any, pooling: str) -> None:
    model = make(kind[0], kind[1](**SIZES, **(DISTIL if kind[0] is DistilBertModel else {})))
    packing = encoder(model, pooling)
    assert packing.packs
    lengths = [3, 70, 1, 128, 12, 5, *[4] * 40]
    texts = [TokenizedText([(n * 31 + i * 7) % (VOCABULARY - 2) + 2 for i in range(n)]) for n in lengths]
    rows = lay_out(lengths)
    assert len(rows) < 6
    with torch.inference_mode():
        found = packing.packed(texts, rows, pad=PAD, types=False)
        for text, row in zip(texts, found, strict=True):
            ids = torch.tensor([text.token_ids])
            alone = packing({"input_ids": ids, "attention_mask": torch.ones_like(ids)})[0]
            assert torch.allclose(row, alone, atol=1e-5)


def test_what_reads_forwards_alone_is_not_packed() -> None:
    assert not encoder(make(LlamaModel, LlamaConfig(**SIZES)), "last").packs


def test_a_model_that_fails_on_packed_texts_is_not_packed() -> None:
    model = make(BertModel, BertConfig(**SIZES))
    whole = model.forward

    def forward(input_ids: Any, attention_mask: Any = None, position_ids: Any = None) -> Any:
        if attention_mask.ndim == 4:
            raise ValueError("Wrong shape.")
        return whole(input_ids, attention_mask=attention_mask, position_ids=position_ids)

    model.forward = forward
    assert not encoder(model).packs


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60))
def test_rows_hold_each_text_once_and_cost_no_more_than_padding(lengths: list[int]) -> None:
    rows = lay_out(lengths)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert len(rows) * max(sum(lengths[index] for index in row) for row in rows) <= len(lengths) * max(lengths)


@pytest.mark.parametrize(
    ("lengths", "rows"), [([9] * 8, 8), ([100, *[9] * 7], 1), ([100] * 10, 10), ([60, *[8] * 90], 7)]
)
def test_unequal_texts_share_rows(lengths: list[int], rows: int) -> None:
    assert abs(len(lay_out(lengths)) - rows) <= rows // 4
