"""What is connected while a model is loaded: one server, or several that have the same model."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from ..config import OpenAIConfig
from ..endpoint import find_endpoints
from .cancel_scope import CancelScope
from .retries import Attempts
from .server_client import ServerClient

T = TypeVar("T")


class Session:
    """The clients of one server or of several. Any number of threads and event loops may use it at once."""

    __slots__ = ("max_retries", "servers")

    def __init__(self, model: str, config: OpenAIConfig) -> None:
        endpoints = find_endpoints(config, model, os.environ)
        self.max_retries = config.max_retries
        self.servers = tuple(
            ServerClient(endpoint, model, config.timeout, not config.uses_proxies) for endpoint in endpoints
        )

    def attempt(self, server: ServerClient, call: Callable[[], T], scope: CancelScope) -> T:
        """Make *call* to *server* within *scope*; retry where that may help. Raises what the SDK raises."""
        attempts = Attempts((server,), self.max_retries, scope)
        while True:
            _, pause = attempts.next()
            if pause:
                scope.sleep(pause)
            try:
                with scope:
                    return call()
            except Exception as error:
                if not attempts.failed(server, error):
                    raise

    def close(self) -> None:
        """Close every connection. What is still being read breaks off."""
        for server in self.servers:
            server.close()

    def __repr__(self) -> str:
        return f"<Session {', '.join(server.endpoint.address for server in self.servers)}>"
