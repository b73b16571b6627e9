"""A cross-encoder of RoBERTa's kind with random weights, in torch and as the GGUF file that a converter makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from .gguf_encoders import TOKENS

_WIDTH = 32
_POSITIONS = 128
_PADDING = 1
"""RoBERTa counts positions from behind the padding's; the converter cuts those rows off."""


def make_reranker(path: Path, seed: int) -> Any:
    """Write the file; returns the model in torch. The vocabulary is that of :mod:`.gguf_encoders`: letters."""
    from gguf import GGUFWriter

    config = transformers.RobertaConfig(
        vocab_size=len(TOKENS),
        hidden_size=_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=_POSITIONS + _PADDING + 1,
        type_vocab_size=1,
        num_labels=1,
        pad_token_id=_PADDING,
        initializer_range=0.4,
        hidden_act="gelu_new",
        layer_norm_eps=1e-5,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.RobertaForSequenceClassification(config).float().eval()
    writer = GGUFWriter(path, "bert")
    for key, number in {
        "block_count": 2,
        "context_length": _POSITIONS,
        "embedding_length": _WIDTH,
        "feed_forward_length": 64,
        "attention.head_count": 2,
        "pooling_type": 4,
    }.items():
        writer.add_uint32(f"bert.{key}", number)
    writer.add_float32("bert.attention.layer_norm_epsilon", 1e-5)
    writer.add_bool("bert.attention.causal", False)
    writer.add_string("tokenizer.ggml.model", "bert")
    writer.add_string("tokenizer.ggml.pre", "default")
    writer.add_array("tokenizer.ggml.tokens", TOKENS)
    writer.add_array("tokenizer.ggml.token_type", [3] * 4 + [1] * (len(TOKENS) - 4))
    for key, token in {
        "token_type_count": 1,
        "unknown_token_id": 1,
        "seperator_token_id": 3,
        "padding_token_id": 0,
        "cls_token_id": 2,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "mask_token_id": 1,
    }.items():
        writer.add_uint32(f"tokenizer.ggml.{key}", token)
    for key, flag in {"bos": True, "eos": True, "sep": False}.items():
        writer.add_bool(f"tokenizer.ggml.add_{key}_token", flag)
    for name, tensor in _tensors(model.state_dict()).items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _tensors(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    embeddings = "roberta.embeddings."
    found = {
        "token_embd.weight": state[f"{embeddings}word_embeddings.weight"],
        "token_types.weight": state[f"{embeddings}token_type_embeddings.weight"],
        "position_embd.weight": state[f"{embeddings}position_embeddings.weight"][_PADDING + 1 :].contiguous(),
        "cls.weight": state["classifier.dense.weight"],
        "cls.bias": state["classifier.dense.bias"],
        "cls.output.weight": state["classifier.out_proj.weight"],
        "cls.output.bias": state["classifier.out_proj.bias"],
    }
    parts = {
        "attn_q": "attention.self.query",
        "attn_k": "attention.self.key",
        "attn_v": "attention.self.value",
        "attn_output": "attention.output.dense",
        "attn_output_norm": "attention.output.LayerNorm",
        "ffn_up": "intermediate.dense",
        "ffn_down": "output.dense",
        "layer_output_norm": "output.LayerNorm",
    }
    for kind in ("weight", "bias"):
        found[f"token_embd_norm.{kind}"] = state[f"{embeddings}LayerNorm.{kind}"]
        for layer in range(2):
            for ours, theirs in parts.items():
                found[f"blk.{layer}.{ours}.{kind}"] = state[f"roberta.encoder.layer.{layer}.{theirs}.{kind}"]
    return found
