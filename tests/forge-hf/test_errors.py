"""Every exception of the four libraries below is mapped by type, or known not to come up where a model is loaded."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors
import torch
from huggingface_hub import errors as hub

from forge_hf.errors import HTTP_ERROR, TABLE, is_out_of_memory, load_error
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

pytestmark = pytest.mark.engine

ELSEWHERE = {
    "huggingface_hub": {
        "its command line": {"CLIError", "CLIExtensionInstallError", "ConfirmationError"},
        "looking through its cache or tidying it": {
            *("CacheNotFound", "CorruptedCacheException", "CachedRepoTreeNotFoundError", "RevisionResolutionError")
        },
        "logging in, or token=True, which we never pass": {"DeviceCodeError", "OIDCError", "LocalTokenNotFoundError"},
        "files of the kind DDUF": {
            *("DDUFError", "DDUFCorruptedFileError", "DDUFExportError", "DDUFInvalidEntryNameError")
        },
        "reading safetensors' headers from afar": {"NotASafetensorsRepoError", "SafetensorsParsingError"},
        "uploads, dry runs and hf:// addresses": {"FileDuplicationError", "DryRunError", "HfUriError"},
        "endpoints, jobs and sandboxes that it rents": {
            *("InferenceEndpointError", "InferenceEndpointTimeoutError", "SandboxError", "SandboxCommandError")
        },
    },
    "torch": {
        "processes that compute together": {
            *("DistError", "DistBackendError", "DistNetworkError", "DistStoreError", "QueueEmptyError")
        },
        "linear algebra": {"LinAlgError"},
        "ending the process on purpose, in tests of its own": {"FatalError"},
        "scripts compiled ahead": {"Error"},
    },
    "transformers": {
        "caught by itself": {
            *("SkipParameters", "AmbiguousGlobalPerLayerAttributeError", "OptionalDependencyNotAvailable")
        },
        "pipelines and its server": {"PipelineException", "CBWorkerDeadError"},
        "Python functions as tools": {"TypeHintParsingException", "DocstringParsingException"},
        "training and its tests": {"NeptuneMissingConfiguration", "SubprocessCallException"},
    },
}
"""What can't come up here, by what it belongs to."""

_DEFINED = re.compile(r"^class ([A-Za-z]\w*)\((?:\w+\.)*\w*(?:Error|Exception)\b", re.M)


def exceptions_of(*modules: ModuleType) -> set[type[Exception]]:
    return {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception) and not issubclass(value, Warning)
    }


def is_mapped(kind: type[Exception]) -> bool:
    return issubclass(kind, tuple(entry for entry, _ in TABLE))


def elsewhere(library: str) -> set[str]:
    return {name for names in ELSEWHERE[library].values() for name in names}


def test_the_hubs_library() -> None:
    there_are = exceptions_of(hub)
    assert len(there_are) > 30, "the walk itself must not break"
    unmapped = {kind.__name__ for kind in there_are if not is_mapped(kind)}
    assert not unmapped - elsewhere("huggingface_hub"), "map these in forge_hf/errors.py, or say where they belong"


def test_torch_and_safetensors() -> None:
    there_are = exceptions_of(torch, torch._C, torch.cuda)
    assert torch.OutOfMemoryError in there_are
    unmapped = {kind.__name__.lstrip("_") for kind in there_are if not is_mapped(kind)}
    assert not unmapped - elsewhere("torch"), "map these in forge_hf/errors.py, or say where they belong"
    assert exceptions_of(safetensors)
    assert all(map(is_mapped, exceptions_of(safetensors)))


def test_transformers_defines_no_other_kinds() -> None:
    """They are spread over its three thousand files, most of which nobody wants to import."""
    spec = importlib.util.find_spec("transformers")
    assert spec is not None
    assert spec.origin is not None
    sources = Path(spec.origin).parent.rglob("*.py")
    defined = {name for source in sources for name in _DEFINED.findall(source.read_text(encoding="utf-8"))}
    assert defined, "the walk itself must not break"
    assert not defined - elsewhere("transformers"), "map these in forge_hf/errors.py, or say where they belong"


BECOMES: dict[type[Exception], type[LlamaForgeError]] = {
    hub.GatedRepoError: AuthenticationError,
    hub.RepositoryNotFoundError: ModelNotFoundError,
    hub.RevisionNotFoundError: ModelNotFoundError,
    hub.LocalEntryNotFoundError: ModelNotFoundError,
    hub.EntryNotFoundError: ModelNotFoundError,
    hub.OfflineModeIsEnabled: ModelNotFoundError,
    hub.HFValidationError: ModelNotFoundError,
    hub.HfHubHTTPError: ServerError,
    HTTP_ERROR: ConnectionFailedError,
    hub.FileMetadataError: ConnectionFailedError,
    hub.XetDownloadError: ConnectionFailedError,
    hub.StrictDataclassError: InvalidModelError,
    safetensors.SafetensorError: InvalidModelError,
    json.JSONDecodeError: InvalidModelError,
    torch.OutOfMemoryError: ModelLoadError,
    MemoryError: ModelLoadError,
    torch.AcceleratorError: ModelLoadError,
    torch.cuda.CudaError: ModelLoadError,
    torch.cuda.DeferredCudaCallError: ModelLoadError,
    ImportError: EngineNotAvailableError,
}


def make(kind: type[Exception], status: int = 500) -> Exception:
    """One of that kind, as the library would raise it."""
    if issubclass(kind, hub.HfHubHTTPError):
        http: Any = importlib.import_module(HTTP_ERROR.__module__.partition(".")[0])
        request = http.Request("GET", "http://hub.test/org/model")
        return kind("no", response=http.Response(status, request=request, headers={"Retry-After": "7"}))
    if kind is json.JSONDecodeError:
        return json.JSONDecodeError("no", "{", 1)
    if kind is torch.cuda.CudaError:
        made = kind.__new__(kind)  # its __init__ asks the driver for the words
        made.args = ("no",)
        return made
    return kind("no")


@pytest.mark.parametrize("kind", [kind for kind, _ in TABLE], ids=lambda kind: kind.__name__)
def test_each_becomes_an_error_of_ours(kind: type[Exception]) -> None:
    for error in (make(kind), wrapped(make(kind))):
        mapped = load_error(error, "org/model")
        assert type(mapped) is BECOMES[kind]
        assert str(mapped)


def wrapped(cause: Exception) -> Exception:
    """As transformers raises it: an OSError in words, whose cause is the real one."""
    error = OSError("We couldn't connect to the hub.")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("status", "expected"),
    [(401, AuthenticationError), (403, AuthenticationError), (429, RateLimitError), (500, ServerError)],
)
def test_statuses_of_the_hub(status: int, expected: type[LlamaForgeError]) -> None:
    mapped = load_error(make(hub.HfHubHTTPError, status), "org/model")
    assert type(mapped) is expected
    assert not isinstance(mapped, RateLimitError) or mapped.retry_after == 7


def test_what_nobody_foresaw_names_its_kind_and_the_model() -> None:
    mapped = load_error(ZeroDivisionError("x"), "org/model")
    assert type(mapped) is ModelLoadError
    assert "ZeroDivisionError: x" in str(mapped)
    assert "org/model" in str(mapped)


def test_our_own_errors_pass() -> None:
    own = InvalidModelError("org/model", "it is none")
    assert load_error(wrapped(own), "org/model") is own


def test_out_of_memory_is_known_by_its_type() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("CUDA out of memory"))
