"""Keeps secrets out of the log: those that are known, and what looks like one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, Final

from ..models.masking import shown
from ..secrets import MASK
from ..sources.redact import redact

_SHORTEST: Final = 8
_TELLING: Final = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_|$)", re.I)
_KEYS: Final = re.compile(
    r"\b(?:(?:sk|pk|rk|hf|gh[pousr]|glpat|xox[a-z]|gsk|nvapi|r8)[-_][A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{30,}"
    r"|AKIA[A-Z0-9]{16}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,})"
)


class Scrubber:
    """Masks secrets. The environment's are those that it has when this is made."""

    def __init__(self) -> None:
        self._known = sorted(set(_secrets()), key=len, reverse=True)

    def text(self, text: str | None) -> str | None:
        """*text* without secrets."""
        if not text:
            return text
        for secret in self._known:
            text = text.replace(secret, MASK)
        return _KEYS.sub(MASK, redact(text))

    def plain(self, value: Any) -> Any:
        """Plain data, all of whose strings are without secrets."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(name)): self.plain(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.plain(inner) for inner in value]
        return value

    def parameters(self, parameters: dict[str, Any]) -> Any:
        """Parameters, with what stands under a telling name masked, too."""
        return self.plain(shown(parameters))


def _secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if _TELLING.search(name) and len(value) >= _SHORTEST and os.sep not in value:
            yield value
