"""GGUF files made up on the spot: real llama models with random weights, small enough to load in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SPECIAL = ["<|end|>", "<|begin|>", "<|turn|>"]
"""The tokens after those of the 256 bytes: 256 ends an answer, 257 begins a text, 258 is a turn's."""

VOCABULARY = 256 + len(SPECIAL)

_TURNS = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n"
)
TEMPLATE = _TURNS + "{% if enable_thinking is defined and not enable_thinking %}off{% endif %}{% endif %}"


def make_tiny_gguf(
    path: Path,
    *,
    seed: int = 0,
    add_bos: bool = False,
    template: str | None = TEMPLATE,
    tensors: dict[str, npt.NDArray[Any]] | None = None,
    **extra: Any,
) -> Path:
    """A llama of two small layers whose tokens are single bytes. *extra* is metadata, with ``__`` for a dot.

    An extra value of None leaves that entry out. *tensors* are another architecture's, in place of the llama's.
    """
    from gguf import GGUFWriter

    metadata: dict[str, Any] = {
        "general.type": "model",
        "llama.block_count": np.uint32(2),
        "llama.context_length": np.uint32(512),
        "llama.embedding_length": np.uint32(32),
        "llama.feed_forward_length": np.uint32(64),
        "llama.attention.head_count": np.uint32(2),
        "llama.attention.head_count_kv": np.uint32(1),
        "llama.attention.layer_norm_rms_epsilon": np.float32(1e-5),
        "llama.rope.dimension_count": np.uint32(16),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*byte_texts(), *SPECIAL],
        "tokenizer.ggml.token_type": [1] * 256 + [3] * len(SPECIAL),
        "tokenizer.ggml.merges": ["Ā ā"],
        "tokenizer.ggml.bos_token_id": np.uint32(257),
        "tokenizer.ggml.eos_token_id": np.uint32(256),
        "tokenizer.ggml.add_bos_token": add_bos,
        "tokenizer.chat_template": template,
        **{name.replace("__", "."): value for name, value in extra.items()},
    }
    tokens = metadata["tokenizer.ggml.tokens"]
    architecture = metadata.pop("general.architecture", "llama")
    writer = GGUFWriter(path, architecture)
    for key, value in metadata.items():
        _put(writer, key, value)
    for name, weights in (tensors or random_tensors(_shapes(len(tokens or range(VOCABULARY))), seed)).items():
        writer.add_tensor(name, weights.astype(np.float32))
    return _write(writer, path)


def make_talkative_gguf(path: Path) -> Path:
    """Such a model for conformance kits: at temperature 0 its texts are printable, and end at their limit alone."""
    tensors = random_tensors(_shapes(VOCABULARY))
    printable = range(ord(" "), ord("~") + 1)
    # Logits are products with these rows: those of zeros are 0, and the best of so many others is above that.
    tensors["output.weight"] = tensors["token_embd.weight"].copy()
    tensors["output.weight"][[token for token in range(VOCABULARY) if token not in printable]] = 0
    # llama.cpp's server takes all text for reasoning where a template knows enable_thinking.
    return make_tiny_gguf(path, tensors=tensors, template=_TURNS + "{% endif %}", llama__context_length=np.uint32(2048))


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Weights of those shapes: norms are ones, all others random."""
    random = np.random.default_rng(seed)
    return {name: np.ones(shape) if "norm" in name else random.normal(0, 0.4, shape) for name, shape in shapes.items()}


def make_lora(path: Path, *, width: int, out: int, tensor: str = "blk.0.attn_q.weight", strength: float = 0.5) -> Path:
    """A LoRA adapter of rank two for one tensor of *width* inputs and *out* outputs."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0)
    random = np.random.default_rng(1)
    writer.add_tensor(f"{tensor}.lora_a", random.normal(0, strength, (2, width)).astype(np.float32))
    writer.add_tensor(f"{tensor}.lora_b", random.normal(0, strength, (out, 2)).astype(np.float32))
    return _write(writer, path)


def byte_texts() -> list[str]:
    """How byte-level tokenizers write each byte: printable ones as they are, the others from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256))
    return [chr(byte) if byte in printable else chr(256 + next(others)) for byte in range(256)]


def _shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (vocabulary, 32), "output_norm.weight": (32,)}
    for block in range(2):
        layer: dict[str, tuple[int, ...]] = {
            "attn_norm": (32,), "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32),
            "ffn_norm": (32,), "ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64),
        }  # fmt: skip
        shapes |= {f"blk.{block}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def _put(writer: Any, key: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, np.floating):
        writer.add_float32(key, float(value))
    else:
        writer.add_uint32(key, int(value))


def _write(writer: Any, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
