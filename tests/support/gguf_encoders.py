"""GGUF files of encoders, made up on the spot: BERT with random weights, small enough to load in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 32
_LETTERS = [chr(code) for code in range(33, 127)]
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"\u2581{letter}" for letter in _LETTERS), *_LETTERS]
"""Letters at the beginning of a word, and within one: WordPiece, as GGUF files have it."""


def make_tiny_encoder(
    path: Path, *, context: int = 256, head: dict[str, tuple[int, ...]] | None = None, **extra: Any
) -> Path:
    """A BERT of two layers. *head* are tensors of a classifier by name; *extra* is metadata, with ``__`` for a dot, and
    None leaves an entry out."""
    from gguf import GGUFWriter

    metadata: dict[str, Any] = {
        "general.type": "model",
        "bert.block_count": np.uint32(2),
        "bert.context_length": np.uint32(context),
        "bert.embedding_length": np.uint32(WIDTH),
        "bert.feed_forward_length": np.uint32(64),
        "bert.attention.head_count": np.uint32(2),
        "bert.attention.layer_norm_epsilon": np.float32(1e-12),
        "bert.attention.causal": False,
        "bert.pooling_type": np.uint32(1),
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.token_type_count": np.uint32(2),
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3] * 4 + [1] * (len(TOKENS) - 4),
        "tokenizer.ggml.unknown_token_id": np.uint32(1),
        "tokenizer.ggml.seperator_token_id": np.uint32(3),
        "tokenizer.ggml.padding_token_id": np.uint32(0),
        "tokenizer.ggml.cls_token_id": np.uint32(2),
        "tokenizer.ggml.bos_token_id": np.uint32(2),
        "tokenizer.ggml.eos_token_id": np.uint32(3),
        "tokenizer.ggml.mask_token_id": np.uint32(1),
        **{name.replace("__", "."): value for name, value in extra.items()},
    }
    writer = GGUFWriter(path, "bert")
    for key, value in metadata.items():
        if value is None:
            continue
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, np.uint32):
            writer.add_uint32(key, int(value))
        elif isinstance(value, np.float32):
            writer.add_float32(key, float(value))
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    chance = np.random.default_rng(1)

    def add(name: str, *shape: int, scale: float = 0.3, around: float = 0.0) -> None:
        writer.add_tensor(name, (around + scale * chance.standard_normal(shape)).astype(np.float32))

    add("token_embd.weight", len(TOKENS), WIDTH)
    add("token_types.weight", int(metadata["tokenizer.ggml.token_type_count"]), WIDTH, scale=0.1)
    add("position_embd.weight", context, WIDTH, scale=0.1)
    norms = ["token_embd_norm"]
    for layer in range(2):
        begin = f"blk.{layer}"
        norms += [f"{begin}.attn_output_norm", f"{begin}.layer_output_norm"]
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{begin}.{part}.weight", WIDTH, WIDTH)
            add(f"{begin}.{part}.bias", WIDTH, scale=0.1)
        add(f"{begin}.ffn_up.weight", 64, WIDTH)
        add(f"{begin}.ffn_up.bias", 64, scale=0.1)
        add(f"{begin}.ffn_down.weight", WIDTH, 64)
        add(f"{begin}.ffn_down.bias", WIDTH, scale=0.1)
    for norm in norms:
        add(f"{norm}.weight", WIDTH, scale=0.1, around=1.0)
        add(f"{norm}.bias", WIDTH, scale=0.1)
    for name, shape in (head or {}).items():
        add(name, *shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
