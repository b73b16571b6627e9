"""What ``llamaforge doctor`` shows of this backend: what torch was compiled for, what it sees, what would help."""

from __future__ import annotations

from contextlib import suppress

from llamaforge.backends.accelerators import hidden_nvidia_cards, nvidia_cards


def probe() -> dict[str, list[str]]:
    """``compiled``, ``visible`` and ``advice``. Never raises; says what it can find out."""
    found: dict[str, list[str]] = {"compiled": [], "visible": [], "advice": []}
    try:
        import torch

        from . import devices
    except Exception as error:  # noqa: BLE001 - a broken torch is what a doctor is for
        found["advice"].append(
            f"torch can't be imported ({type(error).__name__}: {error}). Reinstall it: "
            "pip install --force-reinstall torch"
        )
        return found
    with suppress(Exception):
        found["compiled"].append(f"torch {torch.__version__} for {devices.build()}")
    with suppress(Exception):
        found["visible"].extend(map(_describe, devices.available_devices()))
    with suppress(Exception):
        cards = nvidia_cards() if devices.accelerator() is None else []
        if cards:
            found["advice"].append(_nvidia_advice(cards, devices.build(), devices.get_cuda_torch()))
    return found


def _describe(device: str) -> str:
    import torch

    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(device))
        return f"{device} ({properties.name}, {properties.total_memory / 2**30:.0f} GiB)"
    return device


def _nvidia_advice(cards: list[str], build: str, command: str) -> str:
    there = f"There is an NVIDIA card ({cards[0]})"
    if not build.startswith("CUDA"):
        return f"{there}, but this torch is built for {build}. Get one for CUDA: {command}"
    hidden = hidden_nvidia_cards()
    if hidden is not None:
        return f"{there}, but torch sees none, because {hidden} is set."
    return f"{there}, but torch ({build}) sees none. Its driver may be older than this CUDA: update the driver."
