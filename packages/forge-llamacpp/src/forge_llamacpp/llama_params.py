"""From our load parameters to llama.cpp's structures."""

from __future__ import annotations

import ctypes
from typing import Any, Final

from llama_cpp import llama_cpp as lib

from llamaforge.engine.context import context_length as engine_context
from llamaforge.errors import InvalidParameterError

from . import log_control
from .config import LlamaCppConfig
from .threads import usable_cores

DEFAULT_CONTEXT: Final = 8192

_MOST_SEQUENCES: Final = 256
"""LLAMA_MAX_SEQ of llama.cpp."""
_BATCH_ON_PROCESSOR: Final = 128
_BATCH_ON_CARD: Final = 512
"""Tokens of a step. A processor reads prompts no faster in longer steps, and answers under way wait for each."""

_CACHE_TYPES: Final = {
    "f32": lib.GGML_TYPE_F32,
    "f16": lib.GGML_TYPE_F16,
    "bf16": 30,  # GGML_TYPE_BF16, which the bindings do not name
    "q8_0": lib.GGML_TYPE_Q8_0,
    "q5_1": lib.GGML_TYPE_Q5_1,
    "q5_0": lib.GGML_TYPE_Q5_0,
    "q4_1": lib.GGML_TYPE_Q4_1,
    "q4_0": lib.GGML_TYPE_Q4_0,
    "iq4_nl": lib.GGML_TYPE_IQ4_NL,
}
_SPLIT_MODES: Final = {
    "none": lib.LLAMA_SPLIT_MODE_NONE,
    "layer": lib.LLAMA_SPLIT_MODE_LAYER,
    "row": lib.LLAMA_SPLIT_MODE_ROW,
    "tensor": lib.LLAMA_SPLIT_MODE_TENSOR,
}
_ROPE_SCALINGS: Final = {
    "none": lib.LLAMA_ROPE_SCALING_TYPE_NONE,
    "linear": lib.LLAMA_ROPE_SCALING_TYPE_LINEAR,
    "yarn": lib.LLAMA_ROPE_SCALING_TYPE_YARN,
    "longrope": lib.LLAMA_ROPE_SCALING_TYPE_LONGROPE,
}
_LOAD_MODES: Final = {
    (False, False): lib.LLAMA_LOAD_MODE_NONE,
    (True, False): lib.LLAMA_LOAD_MODE_MMAP,
    (False, True): lib.LLAMA_LOAD_MODE_MLOCK,
    (True, True): lib.LLAMA_LOAD_MODE_MMAP_MLOCK,
}
_FLASH_ATTENTION: Final = {
    None: lib.LLAMA_FLASH_ATTN_TYPE_AUTO,
    False: lib.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    True: lib.LLAMA_FLASH_ATTN_TYPE_ENABLED,
}

_warned_of_no_card = False


def model_parameters(config: LlamaCppConfig) -> lib.llama_model_params:
    """``llama_model_params`` for *config*. The arrays it points at live as long as it does."""
    parameters: lib.llama_model_params = lib.llama_model_default_params()
    parameters.n_gpu_layers = config.n_gpu_layers
    parameters.split_mode = _SPLIT_MODES[config.split_mode]
    parameters.main_gpu = config.main_gpu
    parameters.load_mode = _LOAD_MODES[config.use_mmap, config.use_mlock]
    parameters.check_tensors = config.check_tensors
    if config.tensor_split is not None:
        parameters.tensor_split = _tensor_split(config.tensor_split)
    if config.kv_overrides:
        parameters.kv_overrides = _overrides(config.kv_overrides)
    if not lib.llama_supports_gpu_offload():
        _warn_of_no_card(config)
    return parameters


def context_parameters(config: LlamaCppConfig, n_ctx: int) -> lib.llama_context_params:
    """``llama_context_params`` for *config* and a context of *n_ctx* tokens."""
    parameters: lib.llama_context_params = lib.llama_context_default_params()
    parameters.n_ctx = n_ctx
    parameters.n_batch = batch_size(config)
    parameters.n_ubatch = min(config.n_ubatch, parameters.n_batch)
    parameters.n_seq_max = min(config.n_parallel + config.prefix_cache, _MOST_SEQUENCES)
    parameters.kv_unified = True  # all sequences share n_ctx cells; else each would have a part of its own
    parameters.swa_full = config.swa_full
    # Few tokens' logits are read; the default reserves room for all. llama.cpp wants one for each sequence at least.
    choices = config.n_parallel * (1 + config.prompt_lookup)
    parameters.n_outputs_max = max(parameters.n_seq_max, min(choices, parameters.n_batch))
    parameters.n_threads = config.n_threads or usable_cores()
    parameters.n_threads_batch = config.n_threads_batch or parameters.n_threads
    parameters.flash_attn_type = _FLASH_ATTENTION[config.flash_attn]
    parameters.offload_kqv = config.offload_kqv
    parameters.type_k, parameters.type_v = (_CACHE_TYPES[name] for name in config.cache_types)
    if config.rope_scaling_type is not None:
        parameters.rope_scaling_type = _ROPE_SCALINGS[config.rope_scaling_type]
    for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor"):
        _set(parameters, name, getattr(config, name))
    for name in ("yarn_beta_fast", "yarn_beta_slow", "yarn_orig_ctx"):
        _set(parameters, name, getattr(config, name))
    return parameters


def batch_size(config: LlamaCppConfig) -> int:
    """Tokens that a step may have: as asked, or what suits the machine, one for each request at least."""
    if config.n_batch is not None:
        return config.n_batch
    usual = _BATCH_ON_CARD if lib.llama_supports_gpu_offload() else _BATCH_ON_PROCESSOR
    return max(usual, config.n_parallel)


def context_length(config: LlamaCppConfig, trained: int) -> int:
    """Tokens of context: what was asked for, or what the model was trained for within reason.

    That it is not more than the model was trained for, :func:`.model_check.check_context` sees to.
    """
    return engine_context(config.n_ctx, trained or None, usual=DEFAULT_CONTEXT, stretched=True)


def _set(parameters: Any, name: str, value: float | None) -> None:
    if value is not None:
        setattr(parameters, name, value)


def _tensor_split(shares: tuple[float, ...]) -> Any:
    most = lib.llama_max_devices()
    if len(shares) > most:
        raise InvalidParameterError("tensor_split", shares, f"a list of at most {most} shares, one for each device")
    return (ctypes.c_float * most)(*shares)


def _overrides(overrides: dict[str, bool | int | float | str]) -> Any:
    """Metadata overrides; an entry with an empty key ends the array."""
    entries = (lib.llama_model_kv_override * (len(overrides) + 1))()
    for entry, (key, value) in zip(entries, overrides.items(), strict=False):
        entry.key = key.encode()
        if isinstance(value, bool):
            entry.tag, entry.value.val_bool = lib.LLAMA_KV_OVERRIDE_TYPE_BOOL, value
        elif isinstance(value, int):
            entry.tag, entry.value.val_i64 = lib.LLAMA_KV_OVERRIDE_TYPE_INT, value
        elif isinstance(value, float):
            entry.tag, entry.value.val_f64 = lib.LLAMA_KV_OVERRIDE_TYPE_FLOAT, value
        else:
            entry.tag, entry.value.val_str = lib.LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()
    return entries


def _warn_of_no_card(config: LlamaCppConfig) -> None:
    """Layers that can't go anywhere are no error, for the same configuration serves many machines; but say so, once."""
    global _warned_of_no_card
    asked = [name for name in ("tensor_split", "main_gpu") if getattr(config, name)]
    if config.n_gpu_layers > 0:
        asked.insert(0, f"n_gpu_layers={config.n_gpu_layers}")
    if asked and not _warned_of_no_card:
        _warned_of_no_card = True
        log_control.logger.warning(
            "%s: no graphics card is used. This build of llama-cpp-python supports none, or finds none; "
            "`llamaforge doctor` says more.",
            ", ".join(asked),
        )
