"""API keys: kept as hashes, compared in constant time, with scopes."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from llamaforge.errors import InvalidParameterError

Scope = Literal["use", "admin"]

_HASHED = "sha256:"
_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True)
class Key:
    """A key's SHA-256 and what it allows: ``use`` for requests to models, ``admin`` for everything."""

    sha256: bytes
    scope: Scope = "use"

    @classmethod
    def of(cls, secret: str, scope: Scope = "use") -> Key:
        """The key of a secret; ``sha256:`` and 64 hexadecimal digits give its hash instead. Raises ValueError."""
        if secret.startswith(_HASHED):
            digest = bytes.fromhex(secret.removeprefix(_HASHED))
            if len(digest) != hashlib.sha256().digest_size:
                raise ValueError("a SHA-256 has 64 hexadecimal digits")
            return cls(digest, scope)
        return cls(hashlib.sha256(secret.encode()).digest(), scope)


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys in a file: a line each, the key and perhaps ``admin``. A word that begins with ``#`` begins a comment.

    Raises InvalidParameterError, which names the line and never the key, and OSError.
    """
    keys = []
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InvalidParameterError("api_key_file", str(path), "a text file in UTF-8") from None
    for number, line in enumerate(lines, 1):
        words = _COMMENT.sub("", line).split()
        if not words:
            continue
        scope = words[1] if len(words) > 1 else "use"
        try:
            if len(words) > 2 or scope not in get_args(Scope):
                raise ValueError("only 'use' or 'admin' may follow the key")
            keys.append(Key.of(words[0], scope))  # type: ignore[arg-type]
        except ValueError as error:
            expected = f"a key in each line ({path}, line {number}: {error})"
            raise InvalidParameterError("api_key_file", None, expected, show_value=False) from None
    if not keys:
        raise InvalidParameterError("api_key_file", str(path), "a file with a key in it")
    return tuple(keys)


def allowed(keys: tuple[Key, ...], secret: str | None, scope: Scope) -> bool | None:
    """Whether *secret* may do that; None: no such key. Every key is compared, so that the time tells nothing."""
    if secret is None:
        return None
    digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
    found = [key for key in keys if hmac.compare_digest(key.sha256, digest)]
    if not found:
        return None
    return any(key.scope in ("admin", scope) for key in found)
