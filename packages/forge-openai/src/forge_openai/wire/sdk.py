"""The openai SDK, imported when a server is first connected to, and never before: it takes most of a second."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from llamaforge.backends.base import import_engine

if TYPE_CHECKING:
    import openai

    sdk = openai
else:

    class _Sdk:
        """The SDK: ``sdk.OpenAI`` is ``openai.OpenAI``. It is imported when the first name is asked for."""

        def __getattr__(self, name: str) -> object:
            value = self.__dict__[name] = getattr(load_sdk(), name)
            return value

    sdk = _Sdk()


def load_sdk() -> ModuleType:
    """The SDK. Raises EngineNotAvailableError where it can't be imported."""
    return import_engine("openai", backend="openai", advice="Reinstall it with: pip install --force-reinstall openai")
