"""Checks a load before any weights are read: devices, attention, quantization, files, shapes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from accelerate.utils import check_device_map  # type: ignore[import-untyped] # it has no types
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from llamaforge.errors import InvalidModelError, InvalidParameterError, ModelLoadError, UnknownParameterError
from llamaforge.files import special_file

from .checkpoint import check_gguf, check_settings, check_tokenizer, check_weights, read_config
from .config import HuggingFaceConfig
from .devices import accelerator, choose_device
from .errors import load_error, words
from .model_source import ModelSource, check_folder, check_whole_gguf

if TYPE_CHECKING:
    from transformers import PreTrainedConfig
    from transformers.utils.quantization_config import QuantizationConfigMixin

    Quantization = QuantizationConfigMixin | dict[str, Any]

_SPREADS = frozenset({"auto", "balanced", "balanced_low_0", "sequential"})
_INPUTS = re.compile(r"pixel_values|image|audio|input_features")
"""What a model's message has in it where it wants other inputs than text."""
_MOST_LAYERS = 10_000
"""More than any model has. transformers makes an object of each before it looks at the weights."""


def check_devices(config: HuggingFaceConfig) -> None:
    """Raises DeviceNotAvailableError or InvalidParameterError."""
    choose_device(config.device)
    if isinstance(config.device_map, str) and config.device_map not in _SPREADS:
        choose_device(config.device_map, "device_map")
    if isinstance(config.device_map, dict):
        for module, device in config.device_map.items():
            # A number is an accelerator's; "disk" is accelerate's word for weights that stay in their file.
            wanted = f"{accelerator() or 'cuda'}:{device}" if isinstance(device, int) else device
            if wanted != "disk":
                choose_device(wanted, f"device_map[{module!r}]")


def check_attention(config: HuggingFaceConfig, forbidden_by: str | None) -> None:
    """Raises InvalidParameterError for an attention that transformers doesn't have, and for one on the hub if
    *forbidden_by* names what forbids downloads: the library of kernels has no such switch."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    wanted = config.attn_implementation
    # A name with a slash is a kernel on the hub; transformers looks it up.
    if wanted is not None and "/" in wanted and forbidden_by is not None:
        expected = f"an attention that is installed here; {forbidden_by} forbids to fetch a kernel from the hub"
        raise InvalidParameterError("attn_implementation", wanted, expected)
    if wanted is None or "/" in wanted:
        return
    known = sorted({"eager", *(name for name in ALL_ATTENTION_FUNCTIONS.valid_keys() if "|" not in name)})
    if wanted not in known:
        raise InvalidParameterError("attn_implementation", wanted, f"one of {', '.join(known)}")


def check_files(source: ModelSource, folder: Path, config: HuggingFaceConfig) -> None:
    """Raises InvalidModelError or ModelLoadError, naming the file."""
    if source.gguf_path is not None and source.gguf_file is not None:
        check_whole_gguf(source.gguf_file, source.name)
        check_gguf(source.gguf_path, source.name)
        return
    check_folder(folder, source.name)
    for file in folder.iterdir():
        if (kind := special_file(file)) is not None:
            raise InvalidModelError(source.name, f"{file.name} in it is {kind}, not a file.")
    described = read_config(folder, source.name)
    _check_config(described, source.name, config)
    check_weights(folder, source.name)
    check_tokenizer(folder, source.name)
    check_settings(folder, source.name)


def quantization_config(config: HuggingFaceConfig, source: ModelSource | None = None) -> QuantizationConfigMixin | None:
    """transformers' object for the load parameter; a GGUF file's weights are unpacked unless it says otherwise.

    Raises InvalidParameterError, UnknownParameterError, or EngineNotAvailableError for a package that is missing.
    """
    from_gguf = source is not None and source.gguf_file is not None
    if config.quantization is None:
        kind = getattr(transformers, "GgufConfig", None)  # before it came, weights were always unpacked
        return kind(dequantize=True) if from_gguf and kind is not None else None
    if config.unpacks_gguf_by_itself and not from_gguf:
        raise InvalidParameterError(
            "quantization",
            config.quantization,
            "a method for this model's files: quant_method 'gguf' is only for GGUF files",
        )
    from transformers.quantizers.auto import AutoQuantizationConfig

    try:
        made: QuantizationConfigMixin = AutoQuantizationConfig.from_dict(dict(config.quantization))
        known = {*made.to_dict(), *inspect.signature(type(made)).parameters}
        unknown = [name for name in config.quantization if name not in known and not hasattr(made, name)]
        if unknown:
            raise UnknownParameterError(unknown[0], known, where="quantization option")
        return made
    except UnknownParameterError:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidParameterError(
            "quantization", config.quantization, f"a quantization config of transformers ({error})"
        ) from error
    except ImportError as error:
        raise load_error(error, "This quantization") from error


def packing_of(settings: PreTrainedConfig, options: Mapping[str, Any]) -> Quantization | None:
    """How the weights are quantized, by the checkpoint or by the caller; None where they are not."""
    text = settings.get_text_config(decoder=True)
    own = getattr(settings, "quantization_config", None) or getattr(text, "quantization_config", None)
    return own if own is not None else options.get("quantization_config")


def check_quantizer(packed: Quantization, options: Mapping[str, Any], name: str) -> None:
    """Ask transformers whether it can run such weights here: it looks for packages and devices.

    Raises EngineNotAvailableError for a package, InvalidParameterError for a load parameter that can't be honoured
    here, and ModelLoadError for a checkpoint that can't be run here.
    """
    from transformers.quantizers.auto import AutoHfQuantizer

    given = packed is options.get("quantization_config")
    method = packed.get("quant_method") if isinstance(packed, Mapping) else getattr(packed, "quant_method", None)
    method = getattr(method, "value", method)
    if str(method) == "gguf":  # it wants to know the file, and is there with transformers
        return
    try:
        quantizer = AutoHfQuantizer.from_config(packed, pre_quantized=not given)
        quantizer.validate_environment(device_map=options.get("device_map"), weights_only=True)
    except ImportError:
        raise
    except Exception as error:
        if given:
            expected = f"one that transformers {transformers.__version__} can apply to this model here ({words(error)})"
            raise InvalidParameterError("quantization", None, expected, show_value=False) from error
        raise ModelLoadError(
            name,
            f"its weights are quantized ({method or 'its config.json does not say how'}), and transformers "
            f"{transformers.__version__} can't use them here ({words(error)}).",
        ) from error


def what_is_wrong(model: nn.Module, report: Mapping[str, Any]) -> str | None:
    """Why weights as *report* tells of them are not those of *model*: some are missing, or have another shape."""
    parameters = {each for each, _ in model.named_parameters()}
    missing = sorted(parameters & set(report["missing_keys"]))
    if missing:
        return (
            f"it lacks {len(missing)} of the weights of {type(model).__name__}, such as {missing[0]}: it is not a "
            "complete model for text generation."
        )
    for weight, stored, wanted in sorted(report["mismatched_keys"]):
        return (
            f"its weights don't fit its config.json: {weight} has the shape {list(stored)} in the file, and "
            f"{list(wanted)} in config.json. Download both again, from the same place."
        )
    return None


def what_it_needs(model: nn.Module) -> str | None:
    """What *model*, on torch's ``meta`` device, must be given beside text; None where text alone will do.

    Some models that read pictures refuse a text without one; only their code knows, and says so.
    """
    tokens = torch.zeros((1, 2), dtype=torch.long, device="meta")
    try:
        with torch.inference_mode():
            model(input_ids=tokens, use_cache=False)
    except (TypeError, ValueError) as error:
        if _INPUTS.search(str(error)):
            return f"{type(model).__name__} can't answer text without an image or a sound ({words(error)})."
    except Exception:  # noqa: BLE001, S110 - what a model does with values, it can't do on this device
        pass
    return None


def check_map_of_modules(model: nn.Module, device_map: object) -> None:
    """Raises InvalidParameterError for a *device_map* that leaves out modules of *model*."""
    if isinstance(device_map, dict) and "" not in device_map:
        try:
            check_device_map(model, device_map)
        except ValueError as error:
            raise InvalidParameterError(
                "device_map", device_map, f"a mapping that covers all modules of the model ({words(error)})"
            ) from None


def _check_config(described: Mapping[str, Any], name: str, config: HuggingFaceConfig) -> None:
    """Whether config.json names a model that transformers knows."""
    kind, code = described.get("model_type"), described.get("auto_map")
    has_code = isinstance(code, Mapping) and "AutoConfig" in code
    if not (has_code and config.trust_remote_code):
        if kind is None and not has_code:
            raise InvalidModelError(name, "its config.json names no model_type, so it is not a transformers model.")
        if kind is not None and not isinstance(kind, str):
            raise InvalidModelError(
                name, f"its config.json is damaged: model_type is {kind!r}. Download that file again."
            )
        if kind not in CONFIG_MAPPING and has_code:
            raise ModelLoadError(
                name,
                f"its architecture ({kind}) is Python code in its own repository. Review it, then pass "
                "trust_remote_code=True.",
            )
        if kind not in CONFIG_MAPPING:
            raise ModelLoadError(
                name,
                f"transformers {transformers.__version__} doesn't know its architecture ({kind}, from model_type in "
                "config.json). Update it: pip install -U transformers",
            )
    classes = described.get("architectures")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(each, str) for each in classes)):
        raise InvalidModelError(
            name, f"its config.json is damaged: architectures is {classes!r}, not a list of names. Download it again."
        )
    layers = described.get("num_hidden_layers")
    if isinstance(layers, int) and not 0 <= layers <= _MOST_LAYERS:
        raise InvalidModelError(
            name, f"its config.json is damaged: num_hidden_layers is {layers}. Download that file again."
        )
