"""What is connected while a model is loaded: one server, or several that have the same model."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from ..config import OpenAIConfig
from ..endpoint import find_endpoints
from .lane import Lane
from .retries import Attempts
from .scope import CancelScope

T = TypeVar("T")


class Session:
    """The lanes to the servers. Any number of threads and event loops may use it at once."""

    __slots__ = ("lanes", "max_retries")

    def __init__(self, model: str, config: OpenAIConfig) -> None:
        endpoints = find_endpoints(config, model, os.environ)
        self.max_retries = config.max_retries
        self.lanes = tuple(Lane(endpoint, model, config.timeout) for endpoint in endpoints)

    def attempt(self, lane: Lane, call: Callable[[], T], scope: CancelScope) -> T:
        """Make *call*, of the server of *lane*, within *scope*, again where it may help. Raises what the SDK raises."""
        attempts = Attempts((lane,), self.max_retries, scope)
        while True:
            _, pause = attempts.next()
            if pause:
                scope.sleep(pause)
            try:
                with scope:
                    return call()
            except Exception as error:
                if not attempts.failed(lane, error):
                    raise

    def close(self) -> None:
        """Close every connection. What is still being read breaks off."""
        for lane in self.lanes:
            lane.close()

    def __repr__(self) -> str:
        return f"<Session {', '.join(lane.endpoint.address for lane in self.lanes)}>"
