"""Reads base URLs and separates the credentials in them."""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from llamaforge.errors import InvalidParameterError
from llamaforge.secrets import Secret

OFFICIAL: Final = "https://api.openai.com/v1"
OFFICIAL_STOP_STRINGS: Final = 4
"""How many stop strings a request to it may have."""


def split_address(url: str, name: str) -> tuple[str, Secret | None]:
    """The URL without credentials, and those as the value of an ``Authorization`` header (RFC 7617).

    Raises InvalidParameterError, which calls the URL *name*, if it is not a base URL. A URL that may contain a secret
    is not shown.
    """
    expected = "an http:// or https:// URL such as 'http://127.0.0.1:8000/v1'"
    may_hold_secret = "@" in url or "?" in url or "#" in url
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
        if host and ":" not in host:
            host.encode("idna")  # its error, of an empty or too long label, is a ValueError
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in parts.geturl()):
        raise InvalidParameterError(name, url, expected, show_value=not may_hold_secret)
    if parts.query or parts.fragment:
        raise InvalidParameterError(
            name, url, f"{expected}, without '?' or '#' (put keys into the load parameter headers)", show_value=False
        )
    userinfo, at, place = parts.netloc.rpartition("@")
    credentials = None
    if at:
        user, _, password = userinfo.partition(":")
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        credentials = Secret("Basic " + base64.b64encode(pair).decode("ascii"))
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", "")), credentials


def is_official(address: str) -> bool:
    """Whether it is OpenAI's own API, one of its regions included."""
    host = urlsplit(address).hostname or ""
    return host == "api.openai.com" or host.endswith(".api.openai.com")
