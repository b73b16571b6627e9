"""The distributions of well-known backends: data for messages, not a registry."""

from __future__ import annotations

from typing import Final

from .. import installing

DISTRIBUTIONS: Final = {
    "llama.cpp": "forge-llamacpp",
    "huggingface": "forge-hf",
    "openai": "forge-openai",
    "vllm": "forge-vllm",
    "tgi": "forge-tgi",
    "llama-server": "forge-llamacpp[server]",
}
"""Backend name to distribution. Listings keep this order, too."""


def install_command(name: str, extra: str | None = None) -> str:
    """The command that installs the backend *name*, with one of its distribution's extras."""
    distribution = DISTRIBUTIONS[name] if extra is None else f"{DISTRIBUTIONS[name]}[{extra}]"
    return installing.install_command(f"{distribution}{installing.OUR_RANGE}")
