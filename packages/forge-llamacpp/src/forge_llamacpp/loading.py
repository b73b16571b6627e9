"""Loads a model file into a model and a context of llama.cpp."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Final

from llama_cpp import llama_cpp as lib

from llamaforge.errors import ModelLoadError
from llamaforge.forks import ForkSafeLock

from . import llama_params, log_control
from .config import LlamaCppConfig
from .errors import load_error

_backend_lock: Final = ForkSafeLock()
_backend_ready = False


def load_model(path: str, config: LlamaCppConfig, *, weights: bool = True, quiet: bool = False) -> lib.llama_model_p:
    """The model, or all of it but its *weights*. With *quiet*, the log has warnings for debugging only.

    Raises ModelLoadError where llama.cpp can't load it.
    """
    _prepare_backend()
    parameters = llama_params.model_parameters(config)
    if not weights:
        parameters.no_alloc, parameters.load_mode = True, lib.LLAMA_LOAD_MODE_NONE
    with log_control.troubles(quiet=quiet) as log:
        model: lib.llama_model_p | None = lib.llama_model_load_from_file(os.fsencode(path), parameters)
    if not model:
        raise load_error(path, "Loading it", log)
    return model


def dry_run(path: str, config: LlamaCppConfig, task: str = "generate") -> None:
    """Do all of a load that takes no weights: what llama.cpp would refuse, it refuses now.

    Raises what the load itself raises, but for what comes of the weights and of memory.
    """
    if not hasattr(lib.llama_model_params, "no_alloc"):  # older releases always read the weights
        return
    model = load_model(path, config, weights=False)
    try:
        if task != "generate":
            return
        refuse_what_writes_no_text(path, model)
        n_ctx = llama_params.context_length(config, lib.llama_model_n_ctx_train(model))
        context = make_context(path, model, config, n_ctx)
        try:
            apply_adapters(path, model, context, config)
        finally:
            lib.llama_free(context)
    finally:
        lib.llama_model_free(model)


def refuse_what_writes_no_text(path: str, model: lib.llama_model_p) -> None:
    """Raises ModelLoadError for a model that does not write text token by token."""
    if lib.llama_vocab_type(lib.llama_model_get_vocab(model)) == lib.LLAMA_VOCAB_TYPE_NONE:
        raise ModelLoadError(path, "it has no tokenizer.")
    if lib.llama_model_has_encoder(model) or not lib.llama_model_has_decoder(model):
        raise ModelLoadError(path, "it has an encoder; this backend only runs decoder-only models.")
    if lib.llama_model_is_diffusion(model):
        raise ModelLoadError(
            path, "it is a diffusion model; this backend only runs models that generate token by token."
        )


def make_context(path: str, model: lib.llama_model_p, config: LlamaCppConfig, n_ctx: int) -> lib.llama_context_p:
    """A context of *n_ctx* tokens. Raises ModelLoadError where memory doesn't hold it."""
    with log_control.troubles() as log:
        context: lib.llama_context_p | None = lib.llama_init_from_model(
            model, llama_params.context_parameters(config, n_ctx)
        )
    if not context:
        raise load_error(path, f"Making a context of {n_ctx} tokens", log)
    return context


def apply_adapters(path: str, model: lib.llama_model_p, context: lib.llama_context_p, config: LlamaCppConfig) -> None:
    """Load the LoRA adapters and switch them on. They are freed with the model.

    Raises ModelLoadError for one that doesn't suit the model.
    """
    adapters = config.adapters
    if not adapters:
        return
    pointers = (lib.llama_adapter_lora_p_ctypes * len(adapters))()
    for index, adapter in enumerate(adapters):
        with log_control.troubles() as log:
            pointers[index] = lib.llama_adapter_lora_init(model, os.fsencode(adapter.path))
        if not pointers[index]:
            raise load_error(path, f"Loading the LoRA adapter {adapter.path}", log)
    scales = (ctypes.c_float * len(adapters))(*(adapter.scale for adapter in adapters))
    with log_control.troubles() as log:
        code = lib.llama_set_adapters_lora(context, pointers, len(adapters), scales)
    if code != 0:
        raise load_error(path, "Applying the LoRA adapters", log)


def metadata(model: lib.llama_model_p, key: str) -> str | None:
    """An entry of the model's metadata, as text."""
    room = 1024
    while True:
        buffer = ctypes.create_string_buffer(room)
        length = lib.llama_model_meta_val_str(model, key.encode(), buffer, room)
        if length < 0:
            return None
        if length < room:
            return buffer.value.decode("utf-8", "replace")
        room = length + 1


def metadata_reader(model: lib.llama_model_p, config: LlamaCppConfig) -> Callable[[str], str | None]:
    """Reads an entry of the model's metadata as llama.cpp does: what ``kv_overrides`` says goes before the file."""

    def read(key: str) -> str | None:
        override = config.kv_overrides.get(key)
        return metadata(model, key) if override is None else str(override)

    return read


def _prepare_backend() -> None:
    global _backend_ready
    with _backend_lock:
        if not _backend_ready:
            log_control.connect()
            lib.llama_backend_init()
            _backend_ready = True
