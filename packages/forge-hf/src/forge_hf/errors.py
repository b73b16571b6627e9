"""Maps what torch, transformers, safetensors and the hub's library raise to LlamaForge's errors, by type."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import transformers
from huggingface_hub import constants, errors
from safetensors import SafetensorError

from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    EngineNotAvailableError,
    InvalidModelError,
    LlamaForgeError,
    ModelLoadError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
)

_NETWORK = ("HF_ENDPOINT", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Environment variables that say how the hub is reached, and with which certificates."""
_LONGEST = 400
"""Characters of a library's message that are shown."""
_Map = Callable[[Exception, str], LlamaForgeError]

HTTP_ERROR: type[Exception] = next(base for base in errors.HfHubHTTPError.__bases__ if base is not OSError)
"""Base of the errors of the hub library's HTTP client; which client that is differs between its versions."""


def load_error(
    error: Exception, model: str, failed: str = "", described: Mapping[str, Any] | None = None
) -> LlamaForgeError:
    """Our error for what went wrong while *model* was loaded.

    transformers wraps the hub library's errors in OSErrors that only a person can tell apart, so their causes decide.

    Args:
        error: what a library raised.
        model: the model as the user wrote it.
        failed: what doesn't work for it, for a sentence.
        described: its config.json, where the reason may be in it.
    """
    for each in _chain(error):
        if isinstance(each, LlamaForgeError):
            return each
        for kind, make in TABLE:
            if isinstance(each, kind):
                return make(each, model)
    reason = f"{failed or 'transformers failed'} ({words(error)})."
    return ModelLoadError(model, f"{reason}{_where(error, described or {})} {_advice()}")


def _where(error: Exception, described: Mapping[str, Any]) -> str:
    """Which entry of config.json has the value that a KeyError names: a table of transformers lacks it."""
    missing = error.args[0] if isinstance(error, KeyError) and error.args else None
    if not isinstance(missing, str):
        return ""
    for key, value in _entries(described):
        if value == missing:
            return f" In its config.json, {key} is {missing!r}, which transformers {transformers.__version__} lacks."
    return ""


def _entries(described: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in described.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from _entries(value, f"{prefix}{key}.")


def _advice() -> str:
    return (
        "Download the model again. If that doesn't help, its page says which version of transformers it needs; this is "
        f"{transformers.__version__}."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device's memory, or the machine's, was not enough."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError)


def _chain(error: BaseException) -> Iterator[Exception]:
    """*error* and what it was raised from."""
    each: BaseException | None = error
    while isinstance(each, Exception):
        yield each
        each = each.__cause__


def words(error: BaseException) -> str:
    """The error's kind and its own words, on one line; libraries write whole pages."""
    words = " ".join(str(error).split())
    shown = words if len(words) <= _LONGEST else f"{words[:_LONGEST]} ..."
    return f"{type(error).__name__}: {shown}".rstrip(": ")


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".rstrip(": ")


def _http(error: Exception, model: str) -> LlamaForgeError:
    response = getattr(error, "response", None)
    status: int | None = getattr(response, "status_code", None)
    reason = f"{model}: {getattr(error, 'server_message', None) or _first_line(error)}"
    if status in (401, 403):
        return AuthenticationError(constants.ENDPOINT, status, reason)
    if status == 429:
        after = response.headers.get("retry-after", "") if response is not None else ""
        return RateLimitError(constants.ENDPOINT, status, reason, float(after) if after.isdecimal() else None)
    return ServerError(constants.ENDPOINT, status, reason)


def _gated(error: Exception, model: str) -> LlamaForgeError:
    status = getattr(getattr(error, "response", None), "status_code", None) or 403
    return AuthenticationError(
        constants.ENDPOINT,
        status,
        f"{model} is gated. Accept its terms on its page, then pass token=... or set HF_TOKEN.",
    )


def _no_repository(error: Exception, model: str) -> LlamaForgeError:
    return ModelNotFoundError(
        f"There is no repository {model} on the hub. If it is private, pass token=... or set HF_TOKEN.", model
    )


def _no_revision(error: Exception, model: str) -> LlamaForgeError:
    return ModelNotFoundError(f"{model} has no such branch, tag or commit: check the load parameter revision.", model)


def _no_file(error: Exception, model: str) -> LlamaForgeError:
    return ModelNotFoundError(f"{model} has no such file: {_first_line(error)}", model)


def _not_cached(error: Exception, model: str) -> LlamaForgeError:
    if error.__cause__ is None:
        return ModelNotFoundError(f"{model} is not in the hub's cache on this machine: {_first_line(error)}", model)
    return _unreachable(error.__cause__, model)


def _unreachable(error: BaseException, model: str) -> LlamaForgeError:
    if isinstance(error, errors.HfHubHTTPError):
        return _http(error, model)
    named = [name for name in _NETWORK if os.environ.get(name) or os.environ.get(name.lower())]
    told = f" These environment variables are set: {', '.join(named)}." if named else ""
    return ConnectionFailedError(
        constants.ENDPOINT, f"{_first_line(error)}. {model} is not in the hub's cache on this machine.{told}"
    )


def _damaged(error: Exception, model: str) -> LlamaForgeError:
    return InvalidModelError(model, f"a file is damaged or cut short ({words(error)}). Download it again.")


def _bad_config(error: Exception, model: str) -> LlamaForgeError:
    return InvalidModelError(model, f"its config.json doesn't fit its model type ({words(error)}). Download it again.")


def _missing_package(error: Exception, model: str) -> LlamaForgeError:
    module = getattr(error, "name", None) or ""
    reason = " ".join(str(error).split()).rstrip(".")
    return EngineNotAvailableError("huggingface", module, reason, f"{model} needs it.")


def _memory(error: Exception, model: str) -> LlamaForgeError:
    return ModelLoadError(
        model,
        "the device has too little memory for it. Load it with a smaller dtype, quantized (quantization=...), or "
        f"on several devices (device_map='auto'). {_first_line(error)}",
    )


def _device(error: Exception, model: str) -> LlamaForgeError:
    return ModelLoadError(model, f"the device failed, or its driver did not start ({_first_line(error)}).")


TABLE: tuple[tuple[type[Exception], _Map], ...] = (
    (errors.GatedRepoError, _gated),
    (errors.RepositoryNotFoundError, _no_repository),
    (errors.RevisionNotFoundError, _no_revision),
    (errors.LocalEntryNotFoundError, _not_cached),
    (errors.EntryNotFoundError, _no_file),
    (errors.OfflineModeIsEnabled, _not_cached),
    (errors.HFValidationError, _no_repository),
    (errors.HfHubHTTPError, _http),
    (HTTP_ERROR, _unreachable),
    (errors.FileMetadataError, _unreachable),
    *((kind, _unreachable) for kind in [getattr(errors, "XetDownloadError", None)] if kind is not None),
    (errors.StrictDataclassError, _bad_config),
    (SafetensorError, _damaged),
    (json.JSONDecodeError, _damaged),
    (torch.OutOfMemoryError, _memory),
    (MemoryError, _memory),
    *((kind, _device) for kind in [getattr(torch, "AcceleratorError", None)] if kind is not None),
    (torch.cuda.CudaError, _device),
    (torch.cuda.DeferredCudaCallError, _device),
    (ImportError, _missing_package),
)
"""From the most special type to the most general."""
