"""The same real model as in :mod:`support.models`, in transformers' format; and small ones made up on the spot."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

RECIPE = "smollm2-135m-instruct-bfloat16-2"
"""Change the number when what is made here changes."""


def make_hf_model(gguf: Path, cache: Path | None = None) -> Path:
    """A folder with config, safetensors, tokenizer and chat template of *gguf*: made once, kept in the *cache*.

    Unpacking takes half a minute. Two processes at once make it once; a folder of that name is always whole.
    """
    from filelock import FileLock

    from llamaforge.sources import cache_folder

    home = (cache or cache_folder()) / "tests"
    done = home / RECIPE
    if done.is_dir():
        return done
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / f"{RECIPE}.lock"):
        if done.is_dir():
            return done
        made = Path(tempfile.mkdtemp(dir=home, prefix=f".{RECIPE}."))
        try:
            convert(gguf, made)
            made.chmod(0o755)
            made.replace(done)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return done


def convert(gguf: Path, folder: Path) -> None:
    """Unpack *gguf* to bfloat16 and save it as transformers does.

    transformers gives every GGUF file GPT-2's way of cutting text; this model's own cuts digits apart, before that.
    """
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where: dict[str, Any] = {"gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **where
    )
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **where)
    cuts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.save_pretrained(folder)


def make_tiny_model(folder: Path, tokenizer: Any, *, context: int = 256, seed: int = 0, **settings: Any) -> Path:
    """A real Llama of two small layers with random weights and that tokenizer: quick, and it says nonsense."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": context,
            "tie_word_embeddings": True,
            "initializer_range": 0.6,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "dtype": "float32",
            **settings,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
