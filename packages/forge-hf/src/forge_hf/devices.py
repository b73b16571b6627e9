"""Devices and dtypes: what is available here, and the defaults where the caller doesn't choose."""

from __future__ import annotations

import sys
from typing import Any

import torch

from llamaforge.errors import DeviceNotAvailableError, InvalidParameterError

from .config import Dtype

_NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""What torch calls the abilities of processors (x86 twice, Arm twice) that compute with bfloat16."""


def accelerator() -> str | None:
    """The kind of accelerator that this torch can use here: ``cuda`` (ROCm, too), ``mps``, ``xpu`` ... or None."""
    if not torch.accelerator.is_available():
        return None
    found = torch.accelerator.current_accelerator()
    return None if found is None else found.type


def available_devices() -> list[str]:
    """Every device that there is, by the name that the load parameter ``device`` takes."""
    kind = accelerator()
    if kind is None:
        return ["cpu"]
    count = torch.accelerator.device_count()
    return ["cpu", *([kind] if count == 1 else [f"{kind}:{index}" for index in range(count)])]


def choose_device(wanted: str, parameter: str = "device") -> torch.device:
    """The device called *wanted* by the load parameter *parameter*; ``auto`` is the accelerator if there is one, else
    the CPU.

    Raises InvalidParameterError for what is no device's name, and DeviceNotAvailableError, saying what there is and why
    the other is not.
    """
    kind = accelerator()
    if wanted == "auto":
        return torch.device(kind or "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise InvalidParameterError(
            parameter, wanted, "a device such as 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'"
        ) from None
    if device.type == "cpu" or (device.type == kind and (device.index or 0) < torch.accelerator.device_count()):
        return device
    raise DeviceNotAvailableError(wanted, available_devices(), _why_not(device))


def choose_dtype(wanted: Dtype | None, device: torch.device, own: torch.dtype | None) -> torch.dtype:
    """The type of the weights in memory. *own* is the checkpoint's, None for one with packed weights (GGUF).

    On a CPU a 16-bit type is kept only where the processor computes with it. Measured with SmolLM2-135M on two cores
    with AVX-512 and AMX: bfloat16 needs half the memory of float32 and reads prompts twice as fast, though an answer
    comes a quarter slower; float16 reads prompts no faster than float32.
    """
    if wanted is not None and wanted != "auto":
        return _TYPES[wanted]
    own = torch.bfloat16 if own is None else own
    if wanted == "auto" or device.type != "cpu" or own not in (torch.float16, torch.bfloat16):
        return own
    return torch.bfloat16 if own == torch.bfloat16 and _cpu_has_bfloat16() else torch.float32


def empty_cache() -> None:
    """Have the accelerator's allocator give back what is free, without starting one that was not used."""
    for name in ("cuda", "xpu", "mps"):
        module: Any = getattr(torch, name, None)
        initialized = getattr(module, "is_initialized", None)
        if initialized() if initialized is not None else accelerator() == name:
            module.empty_cache()


def build() -> str:
    """What this torch was compiled for."""
    if torch.version.hip is not None:
        return f"ROCm {torch.version.hip}"
    if torch.version.cuda is not None:
        return f"CUDA {torch.version.cuda}"
    if torch.backends.mps.is_built():
        return "Metal (MPS)"
    return "CPU only"


def get_cuda_torch() -> str:
    """How to get a torch for NVIDIA cards."""
    if sys.platform == "linux":
        return "pip install --force-reinstall --no-cache-dir torch"
    return "take the command from pytorch.org/get-started/locally (Compute Platform: CUDA)"


_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def _cpu_has_bfloat16() -> bool:
    report = getattr(torch.cpu, "get_capabilities", None)  # older versions of torch can't tell
    return report is not None and any(report().get(name) for name in _NATIVE_BFLOAT16)


def _why_not(device: torch.device) -> str:
    compiled = build()
    if device.type == "cuda":
        if compiled.startswith(("CUDA", "ROCm")):
            return (
                f"torch {torch.__version__} is built for {compiled}, but finds no such card. Check the driver and "
                "CUDA_VISIBLE_DEVICES."
            )
        return f"torch {torch.__version__} is built for {compiled}. For NVIDIA cards: {get_cuda_torch()}."
    if device.type == "mps":
        return f"torch {torch.__version__} is built for {compiled}; MPS needs a Mac with Apple's processor."
    return f"torch {torch.__version__} is built for {compiled}."
