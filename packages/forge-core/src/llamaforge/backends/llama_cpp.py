"""Import path of the llama.cpp backend, whose class lives in the distribution forge-llamacpp."""

from __future__ import annotations

from ._elsewhere import absent

try:
    from forge_llamacpp.backend import LlamaCppBackend
except ModuleNotFoundError as error:
    absent("llama.cpp", "forge_llamacpp", error)

__all__ = ["LlamaCppBackend"]
