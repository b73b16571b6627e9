"""Tell which of a model's parameters must not be seen, and show the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..secrets import ENV_PREFIX, MASK
from ..sources.redact import redact

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_TELLING = frozenset(
    {
        *("apikey", "auth", "authorization", "bearer", "cookie", "credential", "credentials", "header", "headers"),
        *("key", "passphrase", "passwd", "password", "pwd", "secret", "secrets", "signature"),
    }
)
_VARIABLE = re.compile(re.escape(ENV_PREFIX) + r"[A-Za-z_][A-Za-z0-9_]*")
# What keys look like, whatever they are called: HTTP authorization, and the usual prefixes of API keys.
_KEY = re.compile(
    r"\s*(?:(?:Bearer|Basic|Token)\s+\S|(?:sk|pk|rk|hf|gh[pousr]|glpat|xox[a-z]|gsk|nvapi|r8)[-_]\S{8}|AIza\S{8}|eyJ\S{16})"
)


def shown(value: Any, name: str = "") -> Any:
    """*value* of the parameter *name* as it may be seen, all the way down.

    Masked are: whatever stands under a telling name (``api_key``, ``X-Auth-Token``, ``dbPassword``, headers), text that
    looks like a key, and the user part of URLs. ``env:NAME`` is shown: it names the secret without telling it. A number
    under a name with ``token`` is shown too: there it is a token's id or a count.
    """
    return _shown(value, *_telling(name))


def _telling(name: str) -> tuple[bool, bool]:
    """Whether text under that name is hidden, and whether numbers are."""
    words = {word.lower() for word in _WORDS.findall(name)}
    telling = bool(words & _TELLING) or name.casefold().endswith(("apikey", "password"))
    return telling or "token" in words, telling


def _shown(value: Any, text: bool, numbers: bool) -> Any:
    if isinstance(value, Mapping):
        found = {}
        for key, inner in value.items():
            below_text, below_numbers = _telling(str(key))
            found[redact(str(key))] = _shown(inner, text or below_text, numbers or below_numbers)
        return found
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(inner, text, numbers) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return MASK if numbers else value
    if isinstance(value, str) and _VARIABLE.fullmatch(value):
        return value
    plain = value if isinstance(value, str) else repr(value)
    return MASK if text or isinstance(value, bytes | bytearray) or _KEY.match(plain) else redact(plain)
