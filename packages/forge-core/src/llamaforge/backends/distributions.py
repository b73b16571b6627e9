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


def install_command(name: str) -> str:
    """The command that installs the backend *name*."""
    return installing.install_command(f"{DISTRIBUTIONS[name]}{installing.OUR_RANGE}")
