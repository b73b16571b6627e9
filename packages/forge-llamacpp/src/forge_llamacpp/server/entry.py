"""Where core finds the classes; without the extra ``server`` it finds out what to install."""

from __future__ import annotations

from llamaforge.errors import BackendNotInstalledError

try:
    from .backend import LlamaServerBackend
    from .config import LlamaServerConfig
except ModuleNotFoundError as error:
    if error.name != "forge_openai":
        raise
    command = 'pip install "forge-llamacpp[server]>=2.0,<3"'
    raise BackendNotInstalledError("llama-server", "forge-llamacpp[server]", command) from None

__all__ = ["LlamaServerBackend", "LlamaServerConfig"]
