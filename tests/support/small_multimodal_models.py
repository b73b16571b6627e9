"""Models of a few thousand random weights that read pictures or sound beside text, with a byte-level tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from forge_hf.tokenizer import _byte_alphabet

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TEXT: dict[str, Any] = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.5,
    "bos_token_id": 256,
    "eos_token_id": 258,
    "pad_token_id": 256,
}
_CLIP: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_QWEN: dict[str, Any] = {"depth": 1, "hidden_size": 32, "num_heads": 2, "patch_size": 14}
_MROPE = {"type": "mrope", "rope_type": "default", "mrope_section": [1, 1, 2]}
_SIGLIP = {**_CLIP, "model_type": "siglip_vision_model"}
_LLAMA = {**_TEXT, "model_type": "llama"}

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2_vl": (
        "Qwen2VLForConditionalGeneration",
        {
            "text_config": {**_TEXT, "rope_scaling": _MROPE},
            "vision_config": {**_QWEN, "embed_dim": 32, "mlp_ratio": 2},
        },
    ),
    "qwen2_5_vl": (
        "Qwen2_5_VLForConditionalGeneration",
        {
            "text_config": {**_TEXT, "rope_scaling": _MROPE},
            "vision_config": {**_QWEN, "out_hidden_size": 32, "intermediate_size": 48},
        },
    ),
    "llava": (
        "LlavaForConditionalGeneration",
        {"text_config": _LLAMA, "vision_config": _CLIP, "image_token_index": 263},
    ),
    "gemma3": (
        "Gemma3ForConditionalGeneration",
        {
            "text_config": {
                **_TEXT,
                "head_dim": 8,
                "sliding_window": 16,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            "vision_config": _SIGLIP,
            "mm_tokens_per_image": 4,
            "image_token_id": 263,
        },
    ),
    "smolvlm": (
        "SmolVLMForConditionalGeneration",
        {
            "text_config": _LLAMA,
            "vision_config": {name: value for name, value in _CLIP.items() if name != "model_type"},
            "image_token_id": 263,
            "pad_token_id": 256,
        },
    ),
    "mllama": (
        "MllamaForConditionalGeneration",
        {
            "text_config": {**_TEXT, "cross_attention_layers": [1]},
            "vision_config": {
                "hidden_size": 32,
                "attention_heads": 2,
                "num_hidden_layers": 2,
                "num_global_layers": 1,
                "intermediate_size": 48,
                "image_size": 28,
                "patch_size": 14,
                "intermediate_layers_indices": [0],
                "vision_output_dim": 64,
                "supported_aspect_ratios": [[1, 1]],
                "max_num_tiles": 1,
            },
        },
    ),
    "qwen3_vl": (
        "Qwen3VLForConditionalGeneration",
        {
            "text_config": {
                **_TEXT,
                "head_dim": 8,
                "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2], "mrope_interleaved": True},
            },
            "vision_config": {
                **_QWEN,
                "out_hidden_size": 32,
                "intermediate_size": 48,
                "deepstack_visual_indexes": [0],
                "num_position_embeddings": 16,
            },
        },
    ),
    "paligemma": (
        "PaliGemmaForConditionalGeneration",
        {
            "text_config": {**_TEXT, "model_type": "gemma", "head_dim": 8},
            "vision_config": {**_SIGLIP, "projection_dim": 32},
            "image_token_index": 263,
            "projection_dim": 32,
        },
    ),
    "idefics2": (
        "Idefics2ForConditionalGeneration",
        {
            "text_config": {**_TEXT, "model_type": "mistral"},
            "vision_config": {name: value for name, value in _CLIP.items() if name != "model_type"},
            "perceiver_config": {
                "resampler_n_latents": 2,
                "resampler_depth": 1,
                "resampler_n_heads": 2,
                "resampler_head_dim": 8,
                "num_key_value_heads": 2,
            },
            "image_token_id": 263,
        },
    ),
    "mistral3": (
        "Mistral3ForConditionalGeneration",
        {
            "text_config": {**_TEXT, "model_type": "mistral"},
            "vision_config": {**_CLIP, "model_type": "pixtral"},
            "image_token_index": 263,
        },
    ),
    # The class that reads text alone lacks weights here: transformers names them otherwise.
    "emu3": (
        "Emu3ForConditionalGeneration",
        {
            "text_config": _TEXT,
            "vq_config": {
                "codebook_size": 16,
                "embed_dim": 8,
                "latent_channels": 8,
                "base_channels": 32,
                "channel_multiplier": [1],
                "num_res_blocks": 1,
                "attn_resolutions": [],
                "hidden_size": 32,
                "num_attention_heads": 2,
            },
            "vocabulary_map": {"<image>": 263},
        },
    ),
    "qwen2_audio": (
        "Qwen2AudioForConditionalGeneration",
        {
            "text_config": {**_TEXT, "model_type": "qwen2"},
            "audio_config": {
                "model_type": "qwen2_audio_encoder",
                "d_model": 32,
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 48,
                "num_mel_bins": 16,
                "max_source_positions": 20,
            },
            "audio_token_index": 263,
        },
    ),
}
"""Each architecture's class, and what its configuration needs."""

PICTURES_ONLY: dict[str, tuple[str, dict[str, Any]]] = {
    "idefics": (
        "IdeficsForVisionText2Text",
        {
            **{name: value for name, value in _TEXT.items() if name != "num_key_value_heads"},
            "vision_config": {
                "embed_dim": 32,
                "image_size": 28,
                "patch_size": 14,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 48,
            },
            "cross_layer_interval": 1,
            "use_resampler": False,
            "additional_vocab_size": 0,
        },
    ),
    "kosmos2": (
        "Kosmos2ForConditionalGeneration",
        {
            "text_config": {
                "vocab_size": 264,
                "embed_dim": 32,
                "layers": 2,
                "ffn_dim": 48,
                "attention_heads": 4,
                "max_position_embeddings": 256,
            },
            "vision_config": {name: value for name, value in _CLIP.items() if name != "model_type"},
        },
    ),
}
"""Those that transformers, too, gives no answer without a picture."""


def byte_tokenizer(template: str | None = CHATML) -> Any:
    """The 256 bytes, and the tokens of ChatML: <|endoftext|> (256), <|im_start|> (257), <|im_end|> (258)."""
    own = Tokenizer(models.BPE(vocab=_byte_alphabet(), merges=[]))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    own.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=own,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    made.chat_template = template
    return made


def save_multimodal_model(kind: str, folder: Path, template: str | None = CHATML) -> Any:
    """Save the model and its tokenizer as transformers does, in float32. Returns the model."""
    name, settings = {**MODELS, **PICTURES_ONLY}[kind]
    kind_of_model = getattr(transformers, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind_of_model(kind_of_model.config_class(**settings)).float().eval()
    model.save_pretrained(folder)
    byte_tokenizer(template).save_pretrained(folder)
    return model
