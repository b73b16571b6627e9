"""Where the backends that people ask for by name can be got: data for messages, not a registry."""

from __future__ import annotations

from typing import Final

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
    """What to type to install the backend *name*.

    The range keeps a resolver that does not see our packages from installing a stranger's of the same name.
    """
    return f'pip install "{DISTRIBUTIONS[name]}>=2.0,<3"'
