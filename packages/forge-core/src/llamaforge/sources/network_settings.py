"""Which environment variable set the proxy or the certificates that a download failed with."""

from __future__ import annotations

import os
import re
from typing import Final

from ..secrets import MASK

_PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "PIP_PROXY")
_CERTIFICATES: Final = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_ABOUT_PROXIES: Final = re.compile(r"proxy|proxies|socks|connect", re.I)
_ABOUT_CERTIFICATES: Final = re.compile(r"certificate|\bssl\b|\btls\b|CERT_|No such file", re.I)


def blame(reason: str) -> str:
    """What to add to *reason*: the environment variables that it is about, with their values; "" for none.

    Passwords in a proxy's URL are masked.
    """
    found = []
    if _ABOUT_PROXIES.search(reason):
        found += [f"{name} is {_without_user(value)}" for name, value in _set(_PROXIES)]
    paths = _set(_CERTIFICATES)
    found += [f"{name} names {value}, which does not exist" for name, value in paths if not os.path.exists(value)]
    if not found and _ABOUT_CERTIFICATES.search(reason):
        found += [f"{name} is {value}" for name, value in paths]
    if not found:
        return ""
    variables = "environment variable" if len(found) == 1 else "environment variables"
    return f" Check the {variables}: {'; '.join(found)}."


def _set(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Those of *names* that are set, in either case, with their values."""
    spelled = [each for name in names for each in dict.fromkeys((name, name.lower()))]
    return [(name, os.environ[name]) for name in spelled if os.environ.get(name)]


def _without_user(url: str) -> str:
    scheme, mark, rest = url.rpartition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{mark}{MASK + at if user else ''}{host}"
