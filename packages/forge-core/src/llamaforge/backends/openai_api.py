"""Import path of the openai backend, whose class lives in the distribution forge-openai."""

from __future__ import annotations

from ._elsewhere import absent

try:
    from forge_openai.backend import OpenAIBackend
except ModuleNotFoundError as error:
    absent("openai", "forge_openai", error)

__all__ = ["OpenAIBackend"]
