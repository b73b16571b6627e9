"""From checked load parameters to an engine, in two steps.

:func:`prepare` reads all files but the weights, and refuses what can't work, while a model that was loaded before is
still there. :func:`load` then reads the weights.
"""

from __future__ import annotations

import copy
import gc
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto import modeling_auto

from llamaforge.chat import ChatTemplate, read_template
from llamaforge.engine.context import context_length, trained_context
from llamaforge.errors import (
    InvalidModelError,
    LlamaForgeError,
)

from . import hub
from .checkpoint import (
    chat_template,
    check_weights,
    generation_defaults,
    processor_template,
    read_config,
    stored_dtype,
    tokenizer_files,
)
from .config import HuggingFaceConfig
from .devices import choose_device, choose_dtype, empty_cache
from .engine import Engine
from .errors import load_error
from .log_control import quiet
from .memory import fewer_kernels
from .model_check import (
    check_attention,
    check_devices,
    check_files,
    check_map_of_modules,
    check_quantizer,
    packing_of,
    quantization_config,
    what_is_wrong,
    what_it_needs,
)
from .model_source import ModelSource, find
from .tokenizer import Vocabulary

_BATCH_ON_CPU, _BATCH_ELSEWHERE = 256, 2048
"""Tokens of a step that keep a processor, or an accelerator, busy computing, and are over soon enough for others."""
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_AUTO_CLASSES: tuple[tuple[Any, Mapping[str, Any]], ...] = (
    (AutoModelForCausalLM, modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
    (AutoModelForImageTextToText, modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
    (
        getattr(transformers, "AutoModelForMultimodalLM", None),  # older versions of transformers lack it
        getattr(modeling_auto, "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES", {}),
    ),
)
"""What continues text, and the classes of each kind of model. The text part alone comes first, where there is one."""


@dataclass(frozen=True)
class PreparedModel:
    """All that :func:`load` needs."""

    source: ModelSource
    folder: Path
    settings: Any
    """transformers' configuration of the model."""
    auto_class: Any
    """Which of transformers' automatic classes loads it."""
    vocabulary: Vocabulary
    template: ChatTemplate | None
    n_ctx: int
    options: Mapping[str, Any]
    """For ``from_pretrained``."""


def prepare(model_path: str, config: HuggingFaceConfig, *, offline: bool = False) -> PreparedModel:
    """Fetch the files where the model is on the hub, and refuse all that can be refused before weights are read.

    With *offline*, nothing is downloaded, whatever the config says.

    Raises ModelNotFoundError, InvalidModelError, ModelLoadError, DeviceNotAvailableError, InvalidParameterError, the
    hub's errors, or EngineNotAvailableError for an optional package.
    """
    source = find(model_path, config.gguf_file)
    switched_off = hub.switched_off(config, offline=offline)
    check_devices(config)
    check_attention(config, switched_off)
    if config.chat_template is not None:
        read_template(config.chat_template)
    with loading_model(source.name):
        if config.quantization is not None:
            quantization_config(config, source)
        folder = source.folder if source.folder is not None else hub.fetch(source, config, switched_off)
        source = ModelSource(source.name, folder, source.gguf_file)
        check_files(source, folder, config)
        return _prepare(source, folder, config, local=switched_off is not None)


def load(prepared: PreparedModel, config: HuggingFaceConfig) -> Engine:
    """Read the weights. Raises a ModelError, an EngineError, or EngineNotAvailableError for an optional package."""
    with loading_model(prepared.source.name):
        return _load(prepared, config)


@contextmanager
def loading_model(name: str) -> Iterator[None]:
    """Silence, few kernels, and memory given back where it fails; whatever is raised becomes one of our errors."""
    with quiet(), fewer_kernels():
        try:
            yield
        except Exception as error:
            # The frames of the traceback hold what was loaded until then, and callers may keep the error.
            traceback.clear_frames(error.__traceback__)
            gc.collect()
            empty_cache()
            mapped = load_error(error, name)
            if mapped is error:
                raise
            raise mapped from error


@contextmanager
def _doing(name: str, failed: str, described: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Say what *failed* where a library raises something of its own, and what of config.json it is about."""
    try:
        yield
    except LlamaForgeError:
        raise
    except Exception as error:
        raise load_error(error, name, failed, described) from error


def _load(prepared: PreparedModel, config: HuggingFaceConfig) -> Engine:
    name = prepared.source.name
    with _doing(name, "its weights can't be loaded"):
        model, report = prepared.auto_class.from_pretrained(
            str(prepared.folder),
            config=prepared.settings,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # or what doesn't fit would be told in a log that nobody sees
            **prepared.options,
        )
    wrong = what_is_wrong(model, report)
    if wrong is not None:
        raise InvalidModelError(name, wrong)
    return Engine(
        name,
        model,
        prepared.vocabulary,
        prepared.template,
        n_ctx=prepared.n_ctx,
        n_batch=config.n_batch or (_BATCH_ON_CPU if model.device.type == "cpu" else _BATCH_ELSEWHERE),
        n_slots=config.n_parallel + config.prefix_cache,
        generation_defaults=generation_defaults(prepared.folder, prepared.source.gguf_file),
    )


def _prepare(source: ModelSource, folder: Path, config: HuggingFaceConfig, *, local: bool) -> PreparedModel:
    name = source.name
    common: dict[str, Any] = {
        "trust_remote_code": config.trust_remote_code,
        # All files are here but for code that a model's own code names in another repository.
        "local_files_only": local or not config.trust_remote_code,
        "cache_dir": config.cache_folder,
        "token": None if config.token is None else config.token.reveal(),
    }
    if source.gguf_file is not None:
        common["gguf_file"] = source.gguf_file
    from_gguf = source.gguf_file is not None
    described = {} if from_gguf else read_config(folder, name)
    what = "the metadata in its header" if from_gguf else "its config.json"
    with _doing(name, f"transformers can't use {what}", described):
        settings = AutoConfig.from_pretrained(str(folder), **common)
        _want_logits_alone(settings)
    auto_classes = _auto_classes(settings, name, config)
    n_ctx = _context(settings, config)
    with _doing(name, f"transformers can't make a tokenizer of {_tokenizer_files(folder, source)}"):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **common)
        vocabulary = Vocabulary(tokenizer)
    if not from_gguf and not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = processor_template(folder)
    template = chat_template(name, None if from_gguf else folder, vocabulary, config.chat_template)
    options = {**common, **_weight_options(source, folder, settings, config)}
    auto_class = _try_out(source, folder, settings, auto_classes, options, described)
    return PreparedModel(source, folder, settings, auto_class, vocabulary, template, n_ctx, options)


def _weight_options(source: ModelSource, folder: Path, settings: Any, config: HuggingFaceConfig) -> dict[str, Any]:
    """Where the weights go, and as what."""
    options: dict[str, Any] = {}
    device = choose_device(config.device)
    if config.device_map is not None:
        options["device_map"] = config.device_map
    elif device.type != "cpu":
        options["device_map"] = {"": device}
    options["dtype"] = choose_dtype(config.chosen_dtype, device, own_dtype(source, folder, settings))
    if config.attn_implementation is not None:
        options["attn_implementation"] = config.attn_implementation
    quantization = quantization_config(config, source)
    if quantization is not None:
        options["quantization_config"] = quantization
    return options


def _want_logits_alone(settings: Any) -> None:
    """A config.json may ask for more or less than logits and a cache, which nobody reads here."""
    for each in (settings, settings.get_text_config(decoder=True)):
        each.return_dict = True
        each.output_hidden_states = False


def _tokenizer_files(folder: Path, source: ModelSource) -> str:
    if source.gguf_file is not None:
        return "the metadata in its header"
    beside = [folder / "tokenizer_config.json", folder / "special_tokens_map.json"]
    files = [*tokenizer_files(folder), *(file for file in beside if file.is_file())]
    return " and ".join(sorted(file.name for file in files))


def _try_out(
    source: ModelSource,
    folder: Path,
    settings: Any,
    auto_classes: list[Any],
    options: Mapping[str, Any],
    described: Mapping[str, Any],
) -> Any:
    """The first of *auto_classes* that the weights fit, found by loading them onto torch's ``meta`` device, which reads
    the files' tables alone.

    A GGUF file would be unpacked for that, and quantized weights want a device: these are only loaded later.
    """
    packed = packing_of(settings, options)
    if packed is not None:
        check_quantizer(packed, options, source.name)
    if packed is not None or source.gguf_file is not None:
        _build(auto_classes[0], source, settings, options, described)
        return auto_classes[0]
    dry = {**options, "device_map": "meta", "ignore_mismatched_sizes": True, "output_loading_info": True}
    reasons: list[str] = []
    for auto_class in auto_classes:
        with _doing(source.name, "its weights can't be loaded", described):
            try:
                model, report = auto_class.from_pretrained(str(folder), config=settings, **dry)
            except Exception:
                _build(auto_class, source, settings, options, described)
                raise
        wrong = what_is_wrong(model, report) or what_it_needs(model)
        if wrong is None:
            check_map_of_modules(model, options.get("device_map"))
            return auto_class
        reasons.append(wrong)
    raise InvalidModelError(source.name, reasons[0])


def _build(
    auto_class: Any, source: ModelSource, settings: Any, options: Mapping[str, Any], described: Mapping[str, Any]
) -> None:
    """Make the model's objects without any weights. What goes wrong then is the fault of what describes the model."""
    code = (getattr(settings, "auto_map", None) or {}).get(auto_class.__name__) or ""
    if options["local_files_only"] and options["trust_remote_code"] and "--" in code:
        return  # from_config() would ask the hub for the repository that the code is in, and can't be told not to
    what = "its config.json" if source.gguf_file is None else "its header"
    doing = _doing(source.name, f"transformers can't build the model that {what} describes", described)
    with doing, torch.device("meta"):
        auto_class.from_config(copy.deepcopy(settings), trust_remote_code=options["trust_remote_code"])


def _auto_classes(settings: Any, name: str, config: HuggingFaceConfig) -> list[Any]:
    """What may load the model, best first. Raises InvalidModelError for a model that doesn't continue text: encoders,
    encoder-decoders, classifiers."""
    if config.trust_remote_code and "AutoModelForCausalLM" in (getattr(settings, "auto_map", None) or {}):
        return [AutoModelForCausalLM]
    kind = settings.model_type
    declared = set(getattr(settings, "architectures", None) or [])
    known = {each for _, classes in _AUTO_CLASSES for names in classes.values() for each in _tuple(names)}
    found = [auto_class for auto_class, classes in _AUTO_CLASSES if kind in classes]
    if not found or getattr(settings, "is_encoder_decoder", False) or (declared and not known & declared):
        what = ", ".join(sorted(declared)) or kind
        raise InvalidModelError(
            name,
            f"{what} is not a model that continues text. Take one whose class is called ...ForCausalLM or similar.",
        )
    return found[: 1 + (found[0] is AutoModelForCausalLM)]


def _tuple(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _context(settings: Any, config: HuggingFaceConfig) -> int:
    """The context length. Raises InvalidParameterError for more than the model was trained for."""
    text = settings.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    rope = rope if isinstance(rope, dict) else {}
    trained = trained_context(
        getattr(text, "max_position_embeddings", None),
        scaling=rope.get("rope_type", rope.get("type")),
        factor=rope.get("factor"),
        original=rope.get("original_max_position_embeddings"),
    )
    return context_length(config.n_ctx, trained)


def own_dtype(source: ModelSource, folder: Path, settings: Any) -> torch.dtype | None:
    """The checkpoint's number type; None where its weights are packed."""
    if source.gguf_file is not None:
        return None
    declared = getattr(settings, "dtype", None)
    if isinstance(declared, torch.dtype):
        return declared
    return _DTYPES.get(stored_dtype(check_weights(folder, source.name)) or "", torch.float32)
