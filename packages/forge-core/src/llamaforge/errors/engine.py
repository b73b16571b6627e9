"""The engine or the server failed."""

from __future__ import annotations

from .base import LlamaForgeError


class EngineError(LlamaForgeError):
    """The engine or the server failed."""


class GenerationError(EngineError, RuntimeError):
    """The engine failed while generating.

    What to do: read the message, which includes the engine's own reason. The engine's exception, if any, is
    ``__cause__``.
    """


class InvalidAnswerError(EngineError, ValueError):
    """An answer breaks the constraint that the request set, or its ``tool_choice``. Servers may ignore them.

    Attributes: ``text`` (the answer); ``reason``; ``place`` (a JSON pointer into the answer; empty for all of it).

    What to do: ask again, or use a model or an engine that follows the constraint. ``text`` has the answer.
    """

    def __init__(self, text: str, reason: str, place: str = "") -> None:
        self.text = text
        self.reason = reason
        self.place = place
        where = f" at {place}" if place else ""
        super().__init__(f"The answer breaks its constraint{where}: {reason}")


class GenerationTimeoutError(EngineError, TimeoutError):
    """The deadline passed.

    Attributes: ``timeout`` (seconds); ``text`` (the answer so far).

    What to do: increase ``timeout``, or lower ``max_tokens``. ``text`` has the answer so far.
    """

    def __init__(
        self, timeout: float, text: str = "", *, advice: str = "Increase timeout, or lower max_tokens."
    ) -> None:
        self.timeout = timeout
        self.text = text
        super().__init__(f"The answer was not complete after {timeout:g} s. {advice}")


class QueueFullError(EngineError, RuntimeError):
    """Too many requests are already waiting for the model.

    Attributes: ``waiting`` (requests); ``limit`` (the load parameter ``max_queue``).

    What to do: try again later, send fewer requests at once, or load the model with a larger ``max_queue``.
    """

    def __init__(self, waiting: int, limit: int) -> None:
        self.waiting = waiting
        self.limit = limit
        if limit == 0:
            full = "All places of the model are taken, and no request may wait (load parameter max_queue: 0)"
        else:
            are = "request is" if waiting == 1 else "requests are"
            full = f"The queue is full: {waiting} {are} waiting for the model (load parameter max_queue: {limit})"
        super().__init__(f"{full}. Try again later.")


class ContractError(EngineError, RuntimeError):
    """A backend broke the contract.

    Attributes: ``backend``; ``reason``.

    What to do: report it to the author of the backend; the caller can't fix it.
    """

    def __init__(self, backend: str, reason: str) -> None:
        self.backend = backend
        self.reason = reason
        super().__init__(f"The backend {backend!r} broke the contract: {reason}. Please report it to its author.")


class ConnectionFailedError(EngineError, ConnectionError):
    """The server can't be reached, or closed the connection.

    Attributes: ``endpoint``; ``reason``.

    What to do: check that the server is running and that ``endpoint`` is its address.
    """

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint = endpoint
        self.reason = reason
        super().__init__(f"The connection to the server at {endpoint} failed: {reason}")


class AuthenticationError(EngineError, PermissionError):
    """The server refused the key.

    Attributes: ``endpoint``; ``status`` (HTTP).

    What to do: check the key, and that it is for ``endpoint``.
    """

    def __init__(self, endpoint: str, status: int, reason: str) -> None:
        self.endpoint = endpoint
        self.status = status
        super().__init__(f"The server at {endpoint} refused the API key (HTTP {status}): {reason}")


class ServerError(EngineError, RuntimeError):
    """The server answered with an error.

    Attributes: ``endpoint``; ``status`` (HTTP, or None inside a stream).

    What to do: read ``reason``. A ``status`` of 500 or above may be temporary; one from 400 to 499 is not.
    """

    def __init__(self, endpoint: str, status: int | None, reason: str) -> None:
        self.endpoint = endpoint
        self.status = status
        self.reason = reason
        code = f" (HTTP {status})" if status is not None else ""
        super().__init__(f"The server at {endpoint} answered with an error{code}: {reason}")


class RateLimitError(ServerError):
    """The server limits the request rate.

    Attribute: ``retry_after`` (seconds, or None).

    What to do: wait ``retry_after`` seconds, if it is set, then try again.
    """

    def __init__(self, endpoint: str, status: int | None, reason: str, retry_after: float | None = None) -> None:
        super().__init__(endpoint, status, reason)
        self.retry_after = retry_after
