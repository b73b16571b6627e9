"""What the environment says of the way to a server: proxies and certificates. Errors name the variable.

The HTTP library reads the same variables, and raises ValueError, ImportError or FileNotFoundError that name none.
"""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlsplit

from llamaforge.secrets import MASK

ClientT = TypeVar("ClientT")

_SCHEMES: Final = "http://, https://, socks5:// or socks5h://"
_UNREAD: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables with certificates that other programs read, and the HTTP library doesn't."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """The proxy that requests to a server go through."""

    url: str
    variable: str
    """The environment variable that sets it; "" where the system's settings do."""

    @property
    def shown(self) -> str:
        """It and where it is set, without its password."""
        scheme, mark, rest = self.url.rpartition("://")
        user, at, place = rest.rpartition("@")
        where = f"the environment variable {self.variable} sets" if self.variable else "the system's settings name"
        return f"the proxy {scheme}{mark}{MASK + at if user else ''}{place} that {where}"


class NetworkSettingsError(Exception):
    """The environment names a proxy or certificates that can't be used. The text says which, and what to do."""


def find_proxy(address: str) -> Proxy | None:
    """The proxy for *address*, by the rules of the HTTP library: the scheme's own, else ``ALL_PROXY``."""
    from urllib.request import getproxies, proxy_bypass  # it imports half of the network modules

    parts = urlsplit(address)
    found = getproxies()
    scheme = parts.scheme if found.get(parts.scheme) else "all"
    url = found.get(scheme)
    if not url or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return Proxy(url, next((name for name in names if os.environ.get(name) == url), ""))


def make_client(make: Callable[..., ClientT], address: str, direct: bool = False) -> ClientT:
    """An HTTP client for the server at *address*, with the proxies and certificates that the environment names.

    *direct*: without a proxy. What concerns other servers only doesn't matter. Raises NetworkSettingsError.
    """
    trust = _trust_for(address)
    if direct:
        return make(verify=trust, trust_env=False)
    try:
        return make(verify=trust)
    except Exception as error:  # noqa: BLE001 - ValueError, ImportError and the library's own: told below
        reason = error
    proxy = find_proxy(address)
    try:
        return make(verify=trust, trust_env=False, proxy=proxy.url if proxy is not None else None)
    except Exception as error:  # noqa: BLE001 - see above
        reason = error
    if proxy is None:
        raise NetworkSettingsError(f"no HTTP client could be created: {type(reason).__name__}: {reason}") from None
    what = f"{proxy.shown} can't be used"
    host = urlsplit(address).hostname
    exempt = f"or exempt this server with NO_PROXY={host}"
    if isinstance(reason, ImportError):
        raise NetworkSettingsError(f"{what}: SOCKS needs another package. Run pip install socksio, {exempt}.") from None
    if isinstance(reason, ValueError):
        raise NetworkSettingsError(f"{what}: its URL must begin with {_SCHEMES}. Correct it, {exempt}.") from None
    raise NetworkSettingsError(f"{what} ({reason}). Correct it, {exempt}.") from None


def certificate_advice() -> str:
    """What to do if a server's certificate isn't trusted."""
    paths = [(name, path) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if (path := os.environ.get(name))]
    named = [f"{name} is {path}{'' if os.path.exists(path) else ', which does not exist'}" for name, path in paths]
    unread = [name for name in _UNREAD if os.environ.get(name)]
    advice = "To trust it, set the environment variable SSL_CERT_FILE to the file with its authority's certificate."
    if named:
        advice += f" Currently, {' and '.join(named)}."
    if unread:
        advice += f" {' and '.join(unread)} {'is' if len(unread) == 1 else 'are'} set, but not read here."
    return advice


def _trust_for(address: str) -> ssl.SSLContext:
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        return _trust(file, folder)
    except (OSError, ssl.SSLError) as error:
        if urlsplit(address).scheme != "https":
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and is never asked
        reason = error
    variable, path = ("SSL_CERT_FILE", file) if file else ("SSL_CERT_DIR", folder)
    if not path:
        raise NetworkSettingsError(f"the system's certificates can't be read: {reason}") from None
    why = "which does not exist" if not os.path.exists(path) else f"which has no certificates in PEM format ({reason})"
    raise NetworkSettingsError(f"the environment variable {variable} names {path}, {why}. Correct or unset it.")


@functools.cache
def _trust(cert_file: str | None, cert_dir: str | None) -> ssl.SSLContext:
    """The certificates that the HTTP library trusts. Reading them takes most of the time to create a client."""
    import httpx2

    return httpx2.create_ssl_context()
