"""Where core finds the classes; without the extra ``server`` it finds out what to install."""

from __future__ import annotations

from llamaforge.errors import BackendNotInstalledError
from llamaforge.installing import install_command

try:
    from .backend import LlamaServerBackend
    from .config import LlamaServerConfig
except ModuleNotFoundError as error:
    if error.name != "forge_openai":
        raise
    missing = "forge-llamacpp[server]"
    raise BackendNotInstalledError("llama-server", missing, install_command(missing)) from None

__all__ = ["LlamaServerBackend", "LlamaServerConfig"]
