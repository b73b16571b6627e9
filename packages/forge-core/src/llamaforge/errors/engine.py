"""The engine or the server failed."""

from __future__ import annotations

from .base import LlamaForgeError


class EngineError(LlamaForgeError):
    """The engine or the server failed."""


class GenerationError(EngineError, RuntimeError):
    """The engine failed while generating.

    What to do: read the message, which has the engine's own words; ``__cause__`` has its exception, where there is
    one.
    """


class GenerationTimeoutError(EngineError, TimeoutError):
    """The deadline passed.

    Attributes: ``timeout`` (seconds); ``text`` (what had come until then).

    What to do: raise ``timeout``, or lower ``max_tokens``. ``text`` is what had come until then, and may do.
    """

    def __init__(self, timeout: float, text: str = "") -> None:
        self.timeout = timeout
        self.text = text
        super().__init__(f"The answer was not complete after {timeout:g} s. Raise timeout, or lower max_tokens.")


class QueueFullError(EngineError, RuntimeError):
    """Too many requests wait for the model already.

    Attributes: ``waiting`` (requests); ``limit`` (the load parameter ``max_queue``).

    What to do: ask again later, with fewer requests at once, or load the model with a larger ``max_queue``.
    """

    def __init__(self, waiting: int, limit: int) -> None:
        self.waiting = waiting
        self.limit = limit
        super().__init__(
            f"{waiting} requests wait for the model already, and {limit} may (load parameter max_queue). "
            "Ask again later."
        )


class ContractError(EngineError, RuntimeError):
    """A backend broke the contract.

    Attributes: ``backend``; ``reason``.

    What to do: nothing at your end: report it to the author of the backend.
    """

    def __init__(self, backend: str, reason: str) -> None:
        self.backend = backend
        self.reason = reason
        super().__init__(f"The backend {backend!r} broke the contract: {reason}. Please report it to its author.")


class ConnectionFailedError(EngineError, ConnectionError):
    """The server can't be reached, or went away.

    Attributes: ``endpoint``; ``reason``.

    What to do: see whether the server runs and whether ``endpoint`` is its address.
    """

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint = endpoint
        self.reason = reason
        super().__init__(f"The server at {endpoint} can't be reached: {reason}")


class AuthenticationError(EngineError, PermissionError):
    """The server refused the key.

    Attributes: ``endpoint``; ``status`` (HTTP).

    What to do: check the key, and that it belongs to ``endpoint``.
    """

    def __init__(self, endpoint: str, status: int, reason: str) -> None:
        self.endpoint = endpoint
        self.status = status
        super().__init__(f"The server at {endpoint} refused the API key (HTTP {status}): {reason}")


class ServerError(EngineError, RuntimeError):
    """The server answered with an error.

    Attributes: ``endpoint``; ``status`` (HTTP, or None inside a stream).

    What to do: read ``reason``; a ``status`` of 500 and more may pass by itself, one of 400 and more will not.
    """

    def __init__(self, endpoint: str, status: int | None, reason: str) -> None:
        self.endpoint = endpoint
        self.status = status
        self.reason = reason
        code = f" (HTTP {status})" if status is not None else ""
        super().__init__(f"The server at {endpoint} answered with an error{code}: {reason}")


class RateLimitError(ServerError):
    """The server asks to slow down.

    Attribute: ``retry_after`` (seconds, or None).

    What to do: wait ``retry_after`` seconds, where it is given, then ask again.
    """

    def __init__(self, endpoint: str, status: int | None, reason: str, retry_after: float | None = None) -> None:
        super().__init__(endpoint, status, reason)
        self.retry_after = retry_after
