"""A client of one server: the SDK's, put together from an endpoint."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from llamaforge.backends.base import import_engine

from .config import OpenAIConfig
from .endpoint import Endpoint, find_endpoint
from .errors import Translator
from .network import bound_network
from .retries import with_retries
from .scope import CancelScope

if TYPE_CHECKING:
    import openai

T = TypeVar("T")

_PLACEHOLDER = "not-needed"
"""What a server that wants no key gets as one: the SDK insists on sending some."""


class Session:
    """The SDK's client and what belongs to it. Any number of threads may use it at once."""

    __slots__ = ("bounded", "client", "endpoint", "max_retries", "translator")

    def __init__(self, model: str, config: OpenAIConfig) -> None:
        self.endpoint: Endpoint = find_endpoint(config, os.environ)
        sdk = import_engine(
            "openai", backend="openai", advice="Reinstall it with: pip install --force-reinstall openai"
        )
        secrets = self.endpoint.secrets()
        self.translator = Translator(address=self.endpoint.address, model=model, secrets=secrets)
        self.max_retries = config.max_retries
        http = sdk.DefaultHttpxClient(verify=_trust(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")))
        self.bounded = bound_network(http)
        """Whether scopes hold at the socket."""
        key = self.endpoint.api_key
        self.client: openai.OpenAI = sdk.OpenAI(
            api_key=key.reveal() if key is not None else _PLACEHOLDER,
            base_url=self.endpoint.address,
            organization=self.endpoint.organization,
            project=self.endpoint.project,
            timeout=config.timeout if config.timeout is not None else sdk.DEFAULT_TIMEOUT,
            max_retries=0,  # ours, so that a deadline can end them
            default_headers={name: value.reveal() for name, value in self.endpoint.headers.items()},
            http_client=http,
        )

    def attempt(self, call: Callable[[], T], scope: CancelScope) -> T:
        """Make *call* within *scope*, again where it may help. Raises what the SDK raises."""
        with scope:
            return with_retries(call, self.max_retries, scope)

    def close(self) -> None:
        """Close every connection. What is still being read breaks off."""
        self.client.close()

    def __repr__(self) -> str:
        return f"<Session {self.endpoint.address}>"


@functools.cache
def _trust(cert_file: str | None, cert_dir: str | None) -> ssl.SSLContext:
    """The certificates that HTTP libraries trust here. Reading them takes most of a client's time to be made."""
    import httpx2

    return httpx2.create_ssl_context()
