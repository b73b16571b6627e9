"""Import path of the huggingface backend, whose class lives in the distribution forge-hf."""

from __future__ import annotations

from ._elsewhere import absent

try:
    from forge_hf.backend import HuggingFaceBackend
except ModuleNotFoundError as error:
    absent("huggingface", "forge_hf", error)

__all__ = ["HuggingFaceBackend"]
