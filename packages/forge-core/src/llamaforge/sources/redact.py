"""Keep credentials out of messages: URLs as pip and model hubs print them."""

from __future__ import annotations

import re

from ..secrets import MASK

_USER = re.compile(r"(?<=://)[^\s/?#'\"<>]*@")
_QUERY = re.compile(
    r"(?<=[?&])([^=&#\s'\"<>]*(?:key|token|secret|signature|credential|password|auth)[^=&#\s'\"<>]*)=[^&#\s'\"<>]*",
    re.I,
)
_BEARER = re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{8,}")


def redact(text: str) -> str:
    """*text* with the user part of every URL, telling query values and authorization headers masked."""
    if "://" in text:
        text = _QUERY.sub(rf"\1={MASK}", _USER.sub(f"{MASK}@", text))
    return _BEARER.sub(rf"\1 {MASK}", text)
