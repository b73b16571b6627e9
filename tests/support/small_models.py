"""Models of a few thousand random weights, of many architectures, for what needs no tokenizer."""

from __future__ import annotations

from typing import Any

import torch
import transformers

VOCABULARY = 97

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}

SETTINGS: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "phi3": {},
    "mistral": {"sliding_window": 6},
    "gemma2": {"head_dim": 8, "sliding_window": 6, "num_hidden_layers": 4},
    "gemma3_text": {
        "head_dim": 8,
        "sliding_window": 6,
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "gpt_oss": {"head_dim": 8, "sliding_window": 6, "num_local_experts": 4, "num_experts_per_tok": 2},
    "mixtral": {"num_local_experts": 4},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "gpt_neox": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": {"n_layer": 2, "n_head": 4},
    "falcon": {"alibi": True},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256},
    "mamba": {"state_size": 8},
    "falcon_mamba": {"state_size": 8},
    "mamba2": {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 8},
    "jamba": {"num_experts": 2, "mamba_d_state": 8, "num_hidden_layers": 8, "use_mamba_kernels": False},
}
"""What each architecture needs beside the common settings."""


def small_model(kind: str, attention: str | None = None) -> Any:
    """A random model of that architecture, always the same, in float32."""
    settings = {**_COMMON, **SETTINGS[kind]}
    if attention is not None:
        settings["attn_implementation"] = attention
    config = transformers.AutoConfig.for_model(kind, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return transformers.AutoModelForCausalLM.from_config(config).float().eval()
