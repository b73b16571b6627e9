"""NVIDIA cards, for the engines' probes: which ones exist, and which ones a process may see.

No library is loaded. The driver's own tool answers or, without it, Linux's list of cards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

_CARDS: Final = Path("/proc/driver/nvidia/gpus")
"""Linux has one folder for each card that the driver knows."""
_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
_TIMEOUT: Final = 10.0
"""Seconds that the driver's tool may take: it starts the driver where nothing else has."""


def nvidia_cards() -> list[str]:
    """The NVIDIA cards that the driver knows, by name. Empty where there is no card or no driver. Never raises."""
    return _listed() or _known_to_linux()


def hidden_nvidia_cards() -> str | None:
    """What hides cards from this process (``CUDA_VISIBLE_DEVICES=-1``); None where nothing does."""
    value = os.environ.get(_VISIBLE)
    return None if value is None else f"{_VISIBLE}={value}"


def _listed() -> list[str]:
    """As ``nvidia-smi -L`` lists them: ``GPU 0: NVIDIA H100 (UUID: ...)``."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        ran = subprocess.run([command, "-L"], capture_output=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    if ran.returncode != 0:
        return []
    lines = ran.stdout.decode("utf-8", "replace").splitlines()
    return [line.partition(":")[2].partition("(UUID")[0].strip() for line in lines if line.startswith("GPU ")]


def _known_to_linux() -> list[str]:
    try:
        return [f"the card {card.name}" for card in sorted(_CARDS.iterdir())]
    except OSError:
        return []
