"""Errors on their way to a client: the HTTP status and kind of each, in one table for all dialects."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    ConstraintError,
    ContextOverflowError,
    GenerationTimeoutError,
    InvalidAnswerError,
    LlamaForgeError,
    MemoryBudgetError,
    ModelError,
    ModelFileError,
    ModelNotLoadedError,
    QueueFullError,
    RateLimitError,
    RequestError,
    ServerError,
    SourceError,
    UnknownModelError,
    UnsupportedError,
)

_log = logging.getLogger(__name__)

UNFORESEEN = "The server failed unexpectedly; its log says why."
"""What clients are told of an error that nobody foresaw."""

_LONGEST: Final = 8000
"""Characters of a message."""
_OF_PYTHON = ', or pass on_unsupported="drop" to ignore it'
"""Advice that helps in Python only: requests to the server can't set it."""
_PARAMETER = "the parameter "
"""How the feature begins that an UnsupportedError names."""
_INVALID, _UNAVAILABLE, _UPSTREAM = "invalid_request", "unavailable", "upstream"


@dataclass(eq=False)
class Problem(Exception):
    """What a client is told, before a dialect gives it its shape."""

    status: int
    kind: str
    """``invalid_request``, ``authentication``, ``permission``, ``not_found``, ``too_large``, ``overloaded``,
    ``unavailable``, ``timeout``, ``upstream`` or ``internal``."""
    message: str
    param: str | None = None
    """The field that was wrong."""
    code: str | None = None
    """A name that clients know, such as ``context_length_exceeded``."""
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.message) > _LONGEST:  # it has what the client sent
            self.message = f"{self.message[: _LONGEST // 2]} ... {self.message[-_LONGEST // 2 :]}"


def ending() -> Problem:
    """What a client is told whose answer is cut off by the end of the server."""
    return Problem(503, _UNAVAILABLE, "The server has been stopped.", headers={"retry-after": "10"})


def invalid(message: str, param: str | None = None) -> Problem:
    """A request that can't be carried out as it stands."""
    return Problem(400, _INVALID, message, param)


def problem(error: BaseException) -> Problem:
    """The problem that an error is to a client. What nobody foresaw is logged, and its text stays here."""
    if isinstance(error, Problem):
        return error
    if not isinstance(error, LlamaForgeError):
        _log.error("A request failed unexpectedly.", exc_info=error)
        return Problem(500, "internal", UNFORESEEN)
    message = str(error)
    if isinstance(error, UnknownModelError):
        return Problem(404, "not_found", message, "model", "model_not_found")
    if isinstance(error, ContextOverflowError):
        return Problem(400, _INVALID, message, "messages", "context_length_exceeded")
    if isinstance(error, RequestError):
        return Problem(400, _INVALID, message.replace(_OF_PYTHON, ""), _field(error))
    if isinstance(error, QueueFullError):
        return Problem(429, "overloaded", message, headers={"retry-after": "1"})
    if isinstance(error, MemoryBudgetError):
        fits = error.needed <= error.budget  # otherwise it is in vain to come again
        return Problem(503, _UNAVAILABLE, message, "model", headers={"retry-after": "10"} if fits else {})
    if isinstance(error, ModelNotLoadedError):
        return Problem(503, _UNAVAILABLE, "The model was unloaded.", "model", headers={"retry-after": "1"})
    if isinstance(error, GenerationTimeoutError):
        return Problem(504, "timeout", message)
    if isinstance(error, RateLimitError):
        wait = error.retry_after if error.retry_after is not None else 1.0
        return Problem(429, "overloaded", message, headers={"retry-after": str(max(1, round(wait)))})
    if isinstance(error, (ServerError, ConnectionFailedError, AuthenticationError, InvalidAnswerError)):
        return Problem(502, _UPSTREAM, message)
    if isinstance(error, (ModelError, ModelFileError, SourceError)):
        _log.error("A model can't be served: %s", message)
        return Problem(503, _UNAVAILABLE, message, "model", headers={"retry-after": "30"})
    _log.error("A request failed: %s", message)
    return Problem(500, "internal", message)


def _field(error: RequestError) -> str | None:
    """The field of the request that *error* is about, where it is about one."""
    if isinstance(error, ConstraintError):
        return error.parameter
    if isinstance(error, UnsupportedError) and error.feature.startswith(_PARAMETER):
        return error.feature.removeprefix(_PARAMETER)
    name: str | None = getattr(error, "name", None)
    return name
