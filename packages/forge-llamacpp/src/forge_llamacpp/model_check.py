"""Checks a model file as far as that is possible without loading it."""

from __future__ import annotations

import math
import stat
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from llamaforge.engine.context import context_length, trained_context
from llamaforge.errors import InvalidModelError, ModelNotFoundError
from llamaforge.formats.gguf import Array, DamagedFileError, Header, read_header, split_siblings
from llamaforge.formats.local import describe_file, describe_folder, local_path

from .config import LlamaCppConfig

_MAX_LAYERS: Final = 512
_MAX_EXPERTS: Final = 1024
"""LLAMA_MAX_LAYERS and LLAMA_MAX_EXPERTS of llama.cpp, which asserts them."""
TEMPLATE_KEYS: Final = {"default": "tokenizer.chat_template", "tool_use": "tokenizer.chat_template.tool_use"}
"""Where GGUF files keep chat templates, by what each is for."""
_ROPE_SCALINGS: Final = ("none", "linear", "yarn", "longrope")


def check_model_file(location: str) -> Header:
    """Refuse a path where no sound model is; returns the header of the one that is there.

    Raises ModelNotFoundError, and InvalidModelError with the reason.
    """
    path = _readable(location, "model")
    with _told_of(location):
        header = read_header(path)
        siblings = split_siblings(path, header)  # first, for a later part's header has nothing else in it
        _check_kind(header)
        _check_shape(header)
        _check_vocabulary(header)
    for sibling in siblings[1:]:
        _readable(str(sibling), f"part of the model {path.name}")
        with _told_of(str(sibling)):
            read_header(sibling)
    return header


def trained_for(header: Header, overrides: Mapping[str, Any] | None = None) -> int | None:
    """The tokens of context that the model was trained for, by its header and the caller's *overrides* of it."""
    architecture = header.metadata.get("general.architecture")

    def told(name: str) -> Any:
        key = f"{architecture}.{name}"
        return (overrides or {}).get(key, header.metadata.get(key))

    return trained_context(
        told("context_length"),
        scaling=told("rope.scaling.type"),
        factor=told("rope.scaling.factor"),
        original=told("rope.scaling.original_context_length"),
    )


def check_context(header: Header, config: LlamaCppConfig) -> None:
    """Raise InvalidParameterError where more context is asked for than the model was trained for."""
    context_length(config.n_ctx, trained_for(header, config.kv_overrides), stretched=config.stretches_context)


def check_template(location: str, header: Header, config: LlamaCppConfig) -> None:
    """Raise InvalidParameterError or InvalidModelError where the chat template is broken, the given one or the file's
    own."""
    from llamaforge.chat import ChatTemplate, read_template

    if config.chat_template is not None:
        read_template(config.chat_template)
        return
    found = {name: header.metadata.get(key) for name, key in TEMPLATE_KEYS.items()}
    texts = {name: text for name, text in found.items() if isinstance(text, str) and text}
    if texts:
        ChatTemplate.of_model(texts, model=location, source=f"{TEMPLATE_KEYS['default']} in its metadata")


def check_adapter_file(location: str) -> None:
    """Refuse a path where no LoRA adapter is. Raises as :func:`check_model_file` does."""
    path = _readable(location, "LoRA adapter")
    with _told_of(location):
        header = read_header(path)
        if header.metadata.get("general.type") != "adapter" or header.metadata.get("adapter.type") != "lora":
            raise DamagedFileError("it is a GGUF file, but not a LoRA adapter")


class _told_of:  # noqa: N801 - a context manager that reads like a function
    """Turn what is wrong with a file into an error that names it."""

    def __init__(self, location: str) -> None:
        self._location = location

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, DamagedFileError):
            raise InvalidModelError(self._location, f"{error}.") from None
        if isinstance(error, OSError):
            raise InvalidModelError(self._location, f"it can't be read: {error.strerror or error}.") from error


def _readable(location: str, what: str) -> Path:
    path = local_path(location)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ModelNotFoundError(f"There is no {what} at {location}.", location) from error
    except OSError as error:
        raise InvalidModelError(location, f"it can't be read: {error.strerror or error}.") from error
    if stat.S_ISDIR(mode):
        raise InvalidModelError(location, describe_folder(path, "gguf"))
    if not stat.S_ISREG(mode):
        raise InvalidModelError(location, "it is not a regular file.")
    reason = describe_file(path, "gguf")
    if reason is not None:
        raise InvalidModelError(location, reason)
    return path


def _check_kind(header: Header) -> None:
    kind = header.metadata.get("general.type", "model")
    if kind == "adapter":
        raise DamagedFileError(
            "it is a LoRA adapter, not a model: load its model, and pass the adapter with lora=[...]"
        )
    if kind == "mmproj" or header.metadata.get("general.architecture") == "clip":
        raise DamagedFileError("it is an image projector (mmproj), not a language model")
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise DamagedFileError("its header does not say which architecture it has")


def _check_shape(header: Header) -> None:
    """What llama.cpp asserts of a model's shape."""
    metadata = header.metadata
    architecture = metadata["general.architecture"]

    def number(name: str) -> int | None:
        value = metadata.get(f"{architecture}.{name}")
        return value if type(value) is int else None

    def expect(sound: bool, name: str) -> None:
        if not sound:
            value = metadata.get(f"{architecture}.{name}")
            raise DamagedFileError(f"its header is damaged: {name} is {value!r}")

    layers = number("block_count")
    if layers is not None:
        expect(0 < layers <= _MAX_LAYERS, "block_count")
        expect((number("nextn_predict_layers") or 0) <= layers, "nextn_predict_layers")
    heads, kv_heads = number("attention.head_count"), number("attention.head_count_kv")
    if heads is not None and kv_heads is not None:
        expect(0 <= kv_heads <= heads, "attention.head_count_kv")
    experts, used = number("expert_count") or 0, number("expert_used_count") or 0
    expect(experts <= _MAX_EXPERTS, "expert_count")
    expect(used <= experts, "expert_used_count")
    groups, groups_used = number("expert_group_count") or 0, number("expert_group_used_count") or 0
    expect(groups < experts or groups == 0, "expert_group_count")
    if groups > 1:
        expect(experts % groups == 0, "expert_group_count")
        expect(0 < groups_used < groups, "expert_group_used_count")
    for name in ("layer_norm_epsilon", "layer_norm_rms_epsilon", "group_norm_epsilon"):
        value = metadata.get(f"{architecture}.attention.{name}")
        if isinstance(value, float):
            expect(math.isfinite(value) and value >= 0, f"attention.{name}")
    scaling = metadata.get(f"{architecture}.rope.scaling.type")
    if isinstance(scaling, str):
        expect(scaling in _ROPE_SCALINGS, "rope.scaling.type")


def _check_vocabulary(header: Header) -> None:
    words = "whitespace"  # splits at white space that other tokenizers keep, on which the engine asserts
    if header.metadata.get("tokenizer.ggml.pre") == words != header.metadata.get("tokenizer.ggml.model"):
        raise DamagedFileError(f"its header is damaged: the pre-tokenizer {words!r} doesn't belong to its tokenizer")
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, Array) and tokens.texts is not None:
        named = [text for text in tokens.texts if text]  # the engine names empty ones by their number
        if len(set(named)) != len(named):
            raise DamagedFileError("its header is damaged: its tokenizer has a duplicate token")
