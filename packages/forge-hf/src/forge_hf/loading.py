"""From checked load parameters to an engine, in two steps.

:func:`prepare` reads all that can be known from files and refuses what can't work; a model that is loaded meanwhile
stays. :func:`load` then reads the weights.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import check_device_map  # type: ignore[import-untyped] # it has no types
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from llamaforge.chat import ChatTemplate, read_template
from llamaforge.engine.context import context_length, trained_context
from llamaforge.errors import (
    InvalidModelError,
    InvalidParameterError,
    LlamaForgeError,
    ModelLoadError,
    UnknownParameterError,
)

from . import hub
from .checkpoint import (
    chat_template,
    check_gguf,
    check_tokenizer,
    check_weights,
    generation_defaults,
    processor_template,
    read_config,
    stored_dtype,
)
from .config import HuggingFaceConfig
from .devices import choose_device, choose_dtype, empty_cache
from .engine import Engine
from .errors import load_error
from .log_control import quiet
from .memory import fewer_kernels
from .model_source import ModelSource, check_folder, check_whole_gguf, find
from .tokenizer import Vocabulary

_BATCH_ON_CPU, _BATCH_ELSEWHERE = 256, 2048
"""Tokens of a step that keep a processor, or an accelerator, busy computing, and are over soon enough for others."""
_SPREADS = frozenset({"auto", "balanced", "balanced_low_0", "sequential"})
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


def prepare(model_path: str, config: HuggingFaceConfig) -> PreparedModel:
    """Fetch the files where the model is on the hub, and refuse all that can be refused before weights are read.

    Raises ModelNotFoundError, InvalidModelError, ModelLoadError, DeviceNotAvailableError, InvalidParameterError, the
    hub's errors, or EngineNotAvailableError for an optional package.
    """
    source = find(model_path, config.gguf_file)
    _check_devices(config)
    _check_attention(config)
    if config.chat_template is not None:
        read_template(config.chat_template)
    with _loading(source.name):
        if config.quantization is not None:
            _quantization(config, source)
        folder = source.folder if source.folder is not None else hub.fetch(source, config)
        source = ModelSource(source.name, folder, source.gguf_file)
        _check_files(source, folder, config)
        return _prepare(source, folder, config)


def load(prepared: PreparedModel, config: HuggingFaceConfig) -> Engine:
    """Read the weights. Raises a ModelError, an EngineError, or EngineNotAvailableError for an optional package."""
    with _loading(prepared.source.name):
        return _load(prepared, config)


@contextmanager
def _loading(name: str) -> Iterator[None]:
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
def _doing(name: str, failed: str) -> Iterator[None]:
    """Say what *failed* where a library raises something of its own."""
    try:
        yield
    except LlamaForgeError:
        raise
    except Exception as error:
        raise load_error(error, name, failed) from error


def _load(prepared: PreparedModel, config: HuggingFaceConfig) -> Engine:
    name = prepared.source.name
    with _doing(name, "its weights can't be loaded"):
        model, report = prepared.auto_class.from_pretrained(
            str(prepared.folder), config=prepared.settings, output_loading_info=True, **prepared.options
        )
    wrong = _what_is_wrong(model, report)
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
        generation_defaults=generation_defaults(prepared.folder) if prepared.source.gguf_file is None else {},
    )


def _prepare(source: ModelSource, folder: Path, config: HuggingFaceConfig) -> PreparedModel:
    name = source.name
    common: dict[str, Any] = {
        "trust_remote_code": config.trust_remote_code,
        "local_files_only": config.local_files_only or not config.trust_remote_code,
        "cache_dir": config.cache_folder,
        "token": None if config.token is None else config.token.reveal(),
    }
    if source.gguf_file is not None:
        common["gguf_file"] = source.gguf_file
    what = "its config.json" if source.gguf_file is None else "its metadata"
    with _doing(name, f"{what} doesn't make a configuration of transformers"):
        settings = AutoConfig.from_pretrained(str(folder), **common)
    auto_classes = _auto_classes(settings, name, config)
    n_ctx = _context(settings, config)
    with _doing(name, "its tokenizer can't be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **common)
    if source.gguf_file is None and not getattr(tokenizer, "chat_template", None):
        tokenizer.chat_template = processor_template(folder)
    vocabulary = Vocabulary(tokenizer)
    template = chat_template(name, folder, vocabulary, config.chat_template)
    options = {**common, **_weight_options(source, folder, settings, config)}
    with _doing(name, "its weights can't be loaded"):
        auto_class = _try_out(source, folder, settings, auto_classes, options)
    return PreparedModel(source, folder, settings, auto_class, vocabulary, template, n_ctx, options)


def _weight_options(source: ModelSource, folder: Path, settings: Any, config: HuggingFaceConfig) -> dict[str, Any]:
    """Where the weights go, and as what."""
    options: dict[str, Any] = {}
    device = choose_device(config.device)
    if config.device_map is not None:
        options["device_map"] = config.device_map
    elif device.type != "cpu":
        options["device_map"] = {"": device}
    options["dtype"] = choose_dtype(config.chosen_dtype, device, _own_dtype(source, folder, settings))
    if config.attn_implementation is not None:
        options["attn_implementation"] = config.attn_implementation
    quantization = _quantization(config, source)
    if quantization is not None:
        options["quantization_config"] = quantization
    return options


def _try_out(
    source: ModelSource, folder: Path, settings: Any, auto_classes: list[Any], options: Mapping[str, Any]
) -> Any:
    """The first of *auto_classes* that the weights fit, found by loading them onto torch's ``meta`` device, which reads
    the files' tables alone.

    A GGUF file would be unpacked for that, and quantized weights want a device: these are only loaded later.
    """
    packed = _packed(settings, options)
    if packed is not None:
        _check_quantizer(packed, settings, options)
    if packed is not None or source.gguf_file is not None or stored_dtype(check_weights(folder, source.name)) is None:
        return auto_classes[0]
    dry = {**options, "device_map": "meta", "ignore_mismatched_sizes": True, "output_loading_info": True}
    reasons: list[str] = []
    for auto_class in auto_classes:
        model, report = auto_class.from_pretrained(str(folder), config=settings, **dry)
        wrong = _what_is_wrong(model, report)
        if wrong is None:
            _check_device_map(model, options.get("device_map"))
            return auto_class
        reasons.append(wrong)
    raise InvalidModelError(source.name, reasons[0])


def _what_is_wrong(model: Any, report: Mapping[str, Any]) -> str | None:
    """Why weights as *report* tells of them are not those of *model*: some are missing, or have another shape."""
    parameters = {each for each, _ in model.named_parameters()}
    missing = sorted(parameters & set(report["missing_keys"]))
    if missing:
        return (
            f"it lacks {len(missing)} of the weights of {type(model).__name__}, {missing[0]} for one: it is no "
            "complete model that generates text."
        )
    for weight, stored, wanted in sorted(report["mismatched_keys"]):
        return (
            f"its weights don't fit its config.json: {weight} has the shape {list(stored)} in the file, and "
            f"{list(wanted)} by config.json. Fetch both again, from the same place."
        )
    return None


def _check_device_map(model: Any, device_map: Any) -> None:
    if isinstance(device_map, dict) and "" not in device_map:
        try:
            check_device_map(model, device_map)
        except ValueError as error:
            raise InvalidParameterError(
                "device_map", device_map, f"a mapping that covers all modules of the model ({error})"
            ) from None


def _check_devices(config: HuggingFaceConfig) -> None:
    """Raises DeviceNotAvailableError or InvalidParameterError."""
    choose_device(config.device)
    if isinstance(config.device_map, str) and config.device_map not in _SPREADS:
        choose_device(config.device_map)
    if isinstance(config.device_map, dict):
        for device in config.device_map.values():
            if isinstance(device, str) and device != "disk":
                choose_device(device)


def _check_files(source: ModelSource, folder: Path, config: HuggingFaceConfig) -> None:
    if source.gguf_path is not None and source.gguf_file is not None:
        check_whole_gguf(source.gguf_file, source.name)
        check_gguf(source.gguf_path, source.name)
        return
    check_folder(folder, source.name)
    described = read_config(folder, source.name)
    kind = described.get("model_type")
    has_code = "AutoConfig" in (described.get("auto_map") or {})
    if kind not in CONFIG_MAPPING and not (has_code and config.trust_remote_code):
        if has_code:
            raise ModelLoadError(
                source.name,
                f"its architecture ({kind}) is Python code in its own repository. Look at it, then pass "
                "trust_remote_code=True.",
            )
        if not isinstance(kind, str):
            raise InvalidModelError(source.name, "its config.json names no model_type, so it is no transformers model.")
        raise ModelLoadError(
            source.name,
            f"transformers {transformers.__version__} doesn't know its architecture ({kind}). Update it: "
            "pip install -U transformers",
        )
    check_weights(folder, source.name)
    check_tokenizer(folder, source.name)


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
            name, f"{what} is no model that continues text. Take one whose class is called ...ForCausalLM or the like."
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


def _own_dtype(source: ModelSource, folder: Path, settings: Any) -> torch.dtype | None:
    """The checkpoint's number type; None where its weights are packed."""
    if source.gguf_file is not None:
        return None
    declared = getattr(settings, "dtype", None)
    if isinstance(declared, torch.dtype):
        return declared
    return _DTYPES.get(stored_dtype(check_weights(folder, source.name)) or "", torch.float32)


def _quantization(config: HuggingFaceConfig, source: ModelSource | None = None) -> Any:
    """transformers' object for the load parameter; a GGUF file's weights are unpacked unless it says otherwise."""
    if config.quantization is None:
        kind = getattr(transformers, "GgufConfig", None)  # before it came, weights were always unpacked
        return None if source is None or source.gguf_file is None or kind is None else kind(dequantize=True)
    from transformers.quantizers.auto import AutoQuantizationConfig

    try:
        made = AutoQuantizationConfig.from_dict(dict(config.quantization))
        unknown = [name for name in config.quantization if not hasattr(made, name)]
        if unknown:
            raise UnknownParameterError(unknown[0], made.to_dict(), where="quantization option")
        return made
    except UnknownParameterError:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidParameterError(
            "quantization", config.quantization, f"a quantization config of transformers ({error})"
        ) from error
    except ImportError as error:
        raise load_error(error, "This quantization") from error


def _packed(settings: Any, options: Mapping[str, Any]) -> Any:
    """How the weights are quantized, by the checkpoint or by the caller; None where they are not."""
    text = settings.get_text_config(decoder=True)
    own = getattr(settings, "quantization_config", None) or getattr(text, "quantization_config", None)
    return own if own is not None else options.get("quantization_config")


def _check_quantizer(packed: Any, settings: Any, options: Mapping[str, Any]) -> None:
    """Ask transformers whether it can run such weights here: it looks for packages and devices."""
    from transformers.quantizers.auto import AutoHfQuantizer

    own = packed is not options.get("quantization_config")
    method = packed.get("quant_method") if isinstance(packed, Mapping) else getattr(packed, "quant_method", None)
    if str(getattr(method, "value", method)) == "gguf":  # it wants to know the file, and is there with transformers
        return
    quantizer = AutoHfQuantizer.from_config(packed, pre_quantized=own)
    quantizer.validate_environment(device_map=options.get("device_map"), weights_only=True)


def _check_attention(config: HuggingFaceConfig) -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    wanted = config.attn_implementation
    # A name with a slash is a kernel on the hub; transformers looks it up.
    if wanted is None or "/" in wanted:
        return
    known = sorted({"eager", *(name for name in ALL_ATTENTION_FUNCTIONS.valid_keys() if "|" not in name)})
    if wanted not in known:
        raise InvalidParameterError("attn_implementation", wanted, f"one of {', '.join(known)}")
