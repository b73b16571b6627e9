"""From checked load parameters to an engine."""

from __future__ import annotations

import gc
import traceback
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from llamaforge.chat import ChatTemplate, read_template
from llamaforge.errors import InvalidModelError, InvalidParameterError, ModelLoadError, UnknownParameterError
from llamaforge.formats.gguf import DamagedFileError, read_header

from . import hub
from .config import HuggingFaceConfig
from .devices import choose_device, choose_dtype, empty_cache
from .engine import Engine
from .errors import load_error
from .kernel_caches import fewer_kernels
from .log_control import quiet
from .model_source import ModelSource, find
from .tokenizer import Vocabulary
from .weights import check_tokenizer, check_weights, read_config, stored_dtype

_DEFAULT_CONTEXT = 4096
_BATCH_ON_CPU, _BATCH_ELSEWHERE = 256, 2048
"""Tokens of a step that keep a processor, or an accelerator, busy computing, and are over soon enough for others."""
_SPREADS = frozenset({"auto", "balanced", "balanced_low_0", "sequential"})
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def check(model_path: str, config: HuggingFaceConfig) -> None:
    """Refuse what can be refused before a model that is loaded now is given up: paths, files, device, parameters.

    Raises ModelNotFoundError, InvalidModelError, DeviceNotAvailableError, InvalidParameterError.
    """
    source = find(model_path, config.gguf_file)
    choose_device(config.device)
    if isinstance(config.device_map, str) and config.device_map not in _SPREADS:
        choose_device(config.device_map)
    _check_attention(config)
    if config.chat_template is not None:
        read_template(config.chat_template)
    with quiet():
        _quantization(config)
        if source.folder is not None:
            _check_files(source, source.folder, config)


def load(model_path: str, config: HuggingFaceConfig) -> Engine:
    """Load the model. Raises a ModelError, an EngineError, or EngineNotAvailableError for an optional package."""
    source = find(model_path, config.gguf_file)
    with quiet(), fewer_kernels():
        try:
            return _load(source, config)
        except Exception as error:
            # The frames of the traceback hold what was loaded until then, and callers may keep the error.
            traceback.clear_frames(error.__traceback__)
            gc.collect()
            empty_cache()
            mapped = load_error(error, source.name)
            if mapped is error:
                raise
            raise mapped from error


def _load(source: ModelSource, config: HuggingFaceConfig) -> Engine:
    folder = source.folder
    if folder is None:
        folder = hub.fetch(source, config)
        _check_files(ModelSource(source.name, folder, source.gguf_file), folder, config)
    common: dict[str, Any] = {
        "trust_remote_code": config.trust_remote_code,
        "local_files_only": config.local_files_only or not config.trust_remote_code,
        "cache_dir": config.cache_dir,
        "token": None if config.token is None else config.token.reveal(),
    }
    if source.gguf_file is not None:
        common["gguf_file"] = source.gguf_file
    settings = AutoConfig.from_pretrained(str(folder), **common)
    _require_causal(settings, source.name, config)
    n_ctx = _context(settings, config)
    vocabulary = Vocabulary(AutoTokenizer.from_pretrained(str(folder), **common))
    template = _template(source.name, folder, vocabulary, config)
    model = _load_weights(source, folder, settings, config, common)
    return Engine(
        source.name,
        model,
        vocabulary,
        template,
        n_ctx=n_ctx,
        n_batch=config.n_batch or (_BATCH_ON_CPU if model.device.type == "cpu" else _BATCH_ELSEWHERE),
        n_slots=config.n_parallel + config.prefix_cache,
    )


def _template(name: str, folder: Path, vocabulary: Vocabulary, config: HuggingFaceConfig) -> ChatTemplate | None:
    """The template of the load parameter, or the tokenizer's."""
    own = getattr(vocabulary.tokenizer, "chat_template", None)
    texts = own if config.chat_template is None else read_template(config.chat_template)
    if not texts:
        return None
    files = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
    return ChatTemplate.of_model(
        texts,
        model=name,
        source=next((file for file in files if (folder / file).is_file()), "of its tokenizer"),
        special_tokens=vocabulary.tokenizer.special_tokens_map,
        control_tokens=vocabulary.control_tokens,
    )


def _load_weights(
    source: ModelSource, folder: Path, settings: Any, config: HuggingFaceConfig, common: dict[str, Any]
) -> Any:
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
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        str(folder), config=settings, output_loading_info=True, **options, **common
    )
    model, report = loaded
    parameters = {name for name, _ in model.named_parameters()}
    missing = sorted(parameters & set(report["missing_keys"]))
    if missing:
        raise InvalidModelError(
            source.name,
            f"it lacks {len(missing)} of the weights of {type(model).__name__}, {missing[0]} for one: it is no "
            "complete model that generates text.",
        )
    return model


def _check_files(source: ModelSource, folder: Path, config: HuggingFaceConfig) -> None:
    if source.gguf_path is not None:
        _check_gguf(source.gguf_path, source.name)
        return
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
            raise InvalidModelError(source.name, "its config.json names no model_type, so it is no transformers model")
        raise ModelLoadError(
            source.name, f"transformers {transformers.__version__} doesn't know its architecture ({kind}). Update it."
        )
    check_weights(folder, source.name)
    check_tokenizer(folder, source.name)


def _check_gguf(path: Path, name: str) -> None:
    try:
        unknown = sorted(read_header(path).unknown_types)
        if unknown:
            raise DamagedFileError(f"it holds tensors of type {unknown[0]}, which the package gguf may not know")
    except DamagedFileError as error:
        raise InvalidModelError(name, f"{error}.") from None
    except OSError as error:
        raise InvalidModelError(name, f"it can't be read: {error.strerror or error}.") from error


def _require_causal(settings: Any, name: str, config: HuggingFaceConfig) -> None:
    """Refuse what doesn't continue text: encoders, encoder-decoders, classifiers."""
    if config.trust_remote_code and "AutoModelForCausalLM" in (getattr(settings, "auto_map", None) or {}):
        return
    kind = settings.model_type
    declared = getattr(settings, "architectures", None) or []
    known = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values(), *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.values()}
    if (
        getattr(settings, "is_encoder_decoder", False)
        or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        or (declared and not known & set(declared))
    ):
        what = ", ".join(declared) or kind
        raise InvalidModelError(name, f"{what} is no causal language model: it doesn't continue text.")


def _context(settings: Any, config: HuggingFaceConfig) -> int:
    """The context length; more than the model was made for is refused, because its positions end there."""
    made_for = getattr(settings.get_text_config(decoder=True), "max_position_embeddings", None)
    if not isinstance(made_for, int) or made_for < 1:
        return config.n_ctx or _DEFAULT_CONTEXT
    if config.n_ctx and config.n_ctx > made_for:
        raise InvalidParameterError("n_ctx", config.n_ctx, f"at most {made_for}, which this model was made for")
    return config.n_ctx or made_for


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


def _check_attention(config: HuggingFaceConfig) -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    wanted = config.attn_implementation
    # A name with a slash is a kernel on the hub; transformers looks it up.
    if wanted is None or "/" in wanted:
        return
    known = sorted({"eager", *(name for name in ALL_ATTENTION_FUNCTIONS.valid_keys() if "|" not in name)})
    if wanted not in known:
        raise InvalidParameterError("attn_implementation", wanted, f"one of {', '.join(known)}")
