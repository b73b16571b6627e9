"""Small models whose memory is not a plain cache: a recurrent one, and one with sliding windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from support.gguf_files import VOCABULARY, make_tiny_gguf, random_tensors

WINDOW = 16
"""Tokens that the sliding layers of :func:`make_tiny_gemma2` look back."""


def make_tiny_mamba(path: Path) -> Path:
    """A Mamba of two layers: its state can't be cut."""
    inner, state, rank = 64, 16, 2
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, 32), "output_norm.weight": (32,)}
    for block in range(2):
        shapes |= {
            f"blk.{block}.{name}": shape
            for name, shape in {
                "attn_norm.weight": (32,),
                "ssm_in.weight": (2 * inner, 32),
                "ssm_conv1d.weight": (inner, 4),
                "ssm_conv1d.bias": (inner,),
                "ssm_x.weight": (rank + 2 * state, inner),
                "ssm_dt.weight": (inner, rank),
                "ssm_dt.bias": (inner,),
                "ssm_a": (inner, state),
                "ssm_d": (inner,),
                "ssm_out.weight": (32, inner),
            }.items()
        }
    tensors = random_tensors(shapes)
    for name in tensors:
        if name.endswith("ssm_a"):
            tensors[name] = -np.abs(tensors[name]) - 0.1  # states fade
    return make_tiny_gguf(
        path,
        tensors=tensors,
        general__architecture="mamba",
        mamba__context_length=np.uint32(512),
        mamba__embedding_length=np.uint32(32),
        mamba__block_count=np.uint32(2),
        mamba__feed_forward_length=np.uint32(0),
        mamba__attention__head_count=np.uint32(0),
        mamba__attention__layer_norm_rms_epsilon=np.float32(1e-5),
        mamba__ssm__conv_kernel=np.uint32(4),
        mamba__ssm__inner_size=np.uint32(inner),
        mamba__ssm__state_size=np.uint32(state),
        mamba__ssm__time_step_rank=np.uint32(rank),
    )


def make_tiny_gemma2(path: Path) -> Path:
    """A Gemma 2 of two layers, the first of which looks back :data:`WINDOW` tokens only."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, 32), "output_norm.weight": (32,)}
    for block in range(2):
        layer: dict[str, tuple[int, ...]] = {
            "attn_norm": (32,), "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32),
            "post_attention_norm": (32,), "ffn_norm": (32,), "ffn_gate": (64, 32), "ffn_up": (64, 32),
            "ffn_down": (32, 64), "post_ffw_norm": (32,),
        }  # fmt: skip
        shapes |= {f"blk.{block}.{name}.weight": shape for name, shape in layer.items()}
    return make_tiny_gguf(
        path,
        tensors=random_tensors(shapes),
        general__architecture="gemma2",
        gemma2__context_length=np.uint32(512),
        gemma2__embedding_length=np.uint32(32),
        gemma2__block_count=np.uint32(2),
        gemma2__feed_forward_length=np.uint32(64),
        gemma2__attention__head_count=np.uint32(2),
        gemma2__attention__head_count_kv=np.uint32(1),
        gemma2__attention__key_length=np.uint32(16),
        gemma2__attention__value_length=np.uint32(16),
        gemma2__attention__layer_norm_rms_epsilon=np.float32(1e-5),
        gemma2__attention__sliding_window=np.uint32(WINDOW),
    )
