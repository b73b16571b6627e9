"""Import path of the base class for OpenAI-compatible servers, which lives in the distribution forge-openai."""

from __future__ import annotations

from ._elsewhere import absent

try:
    from forge_openai.server.backend import OpenAIServerBackend
    from forge_openai.server.config import OpenAIServerConfig
except ModuleNotFoundError as error:
    absent("openai", "forge_openai", error)

__all__ = ["OpenAIServerBackend", "OpenAIServerConfig"]
