"""What ``llamaforge doctor`` shows of this backend: what torch was compiled for, what it sees, what would help."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path


def probe() -> dict[str, list[str]]:
    """``compiled``, ``visible`` and ``advice``. Never raises; says what it can find out."""
    found: dict[str, list[str]] = {"compiled": [], "visible": [], "advice": []}
    try:
        import torch

        from . import devices
    except Exception as error:  # noqa: BLE001 - a broken torch is what a doctor is for
        found["advice"].append(
            f"torch can't be imported ({type(error).__name__}: {error}). Mend it: pip install --force-reinstall torch"
        )
        return found
    with suppress(Exception):
        found["compiled"].append(f"torch {torch.__version__} for {devices.build()}")
    with suppress(Exception):
        found["visible"].extend(map(_describe, devices.available_devices()))
    with suppress(Exception):
        if devices.accelerator() is None and _has_nvidia_card():
            found["advice"].append(_nvidia_advice(devices.build(), devices.get_cuda_torch()))
    return found


def _describe(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
    return device


def _has_nvidia_card() -> bool:
    cards = Path("/proc/driver/nvidia/gpus")
    return (cards.is_dir() and any(cards.iterdir())) or shutil.which("nvidia-smi") is not None


def _nvidia_advice(build: str, command: str) -> str:
    if build.startswith("CUDA"):
        return f"There is an NVIDIA driver, but torch ({build}) sees no card. Check it, and CUDA_VISIBLE_DEVICES."
    return f"There is an NVIDIA card, but this torch is built for {build}. Get one for it: {command}"
