"""What the SDK, the HTTP library and servers report, as LlamaForge's errors: by type, status and field, never by text.

What a server says may repeat our key, so every reason is cleaned of our secrets; and none of the original exceptions is
chained to ours, because they hold the request with its headers.
"""

from __future__ import annotations

import email.utils
import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llamaforge.errors import (
    AuthenticationError,
    ConnectionFailedError,
    ContextOverflowError,
    GenerationError,
    GenerationTimeoutError,
    LlamaForgeError,
    ModelNotFoundError,
    RateLimitError,
    ServerError,
)
from llamaforge.secrets import MASK

from .error_shapes import error_fields, error_text
from .wire.cancel_scope import CancelScope
from .wire.reasons import connection_reason, describe

_LONGEST_REASON = 500
_PROXY_AUTHENTICATION: Final = 407

OVERFLOW_CODES: Final = frozenset(
    {
        "context_length_exceeded",  # OpenAI; llama-cpp-python's server
        "exceed_context_size_error",  # llama.cpp
    }
)
OVERFLOW_PARAMS: Final = frozenset({"input_tokens"})  # vLLM
NO_MODEL_CODES: Final = frozenset({"model_not_found", "DeploymentNotFound"})  # OpenAI; Azure
SLOW_DOWN_CODES: Final = frozenset({"rate_limit_exceeded", "rate_limit_error", "insufficient_quota"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Translator:
    """Translates a server's errors into ours, for one server and one model."""

    address: str
    model: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    context_size: int | None = None
    route: str = ""
    """How the server was contacted, for errors of the connection."""
    key_variable: str = ""
    """The environment variable that the key is from."""
    has_key: bool = True
    """Whether the server is sent credentials."""

    def translate(self, error: BaseException, scope: CancelScope | None = None) -> LlamaForgeError:
        """Our error for an exception of the SDK or of the HTTP library; anything else is a GenerationError.

        After the deadline, every failure is a GenerationTimeoutError.
        """
        if scope is not None and scope.expired:
            return GenerationTimeoutError(scope.timeout or 0.0)
        if isinstance(error, LlamaForgeError):
            return error
        table = exception_table()
        for kind in type(error).__mro__:
            make = table.get(kind)
            if make is not None:
                return make(self, error)
        return GenerationError(f"The backend 'openai' failed: {self.clean(describe(error))}")

    def answer_error(
        self, status: int | None, body: object, headers: Mapping[str, str] | None = None
    ) -> LlamaForgeError:
        """Our error for a status and an error object. *status* is None for one inside a stream."""
        fields = error_fields(body)
        reason = self.clean(error_text(fields, body))
        marks = {mark for mark in (fields.get("code"), fields.get("type")) if isinstance(mark, str)}
        param = fields.get("param")
        if marks & OVERFLOW_CODES or param in OVERFLOW_PARAMS:
            return ContextOverflowError(
                _whole(fields.get("n_prompt_tokens")),
                _whole(fields.get("n_ctx")) or self.context_size,
                f"The server says: {reason}",
            )
        if marks & NO_MODEL_CODES or (status == 404 and param == "model"):
            return ModelNotFoundError(f"The server at {self.address} has no model {self.model!r}: {reason}", self.model)
        # A stream has sent its status already, so that some servers put the real one into the error.
        effective = status if status is not None else _whole(fields.get("code"))
        if effective in (401, 403):
            return AuthenticationError(self.address, effective, reason + self._about_key())
        if effective == 429 or marks & SLOW_DOWN_CODES:
            return RateLimitError(self.address, status, reason, retry_after(headers or {}))
        if effective == _PROXY_AUTHENTICATION and self.route:
            reason = self.clean(f"{reason} {self.route}")
        return ServerError(self.address, status, reason)

    def unreached(self, reason: str) -> ConnectionFailedError:
        """No connection, or a broken one: :meth:`gone`, and how the server was contacted."""
        return self.gone(f"{reason.rstrip('.')}. {self.route}" if self.route else reason)

    def gone(self, reason: str) -> ConnectionFailedError:
        """The connection to the server failed."""
        return ConnectionFailedError(self.address, self.clean(reason))

    def _about_key(self) -> str:
        """Where the refused key came from, if the caller may not know."""
        if not self.has_key:
            return " No key was sent: pass the load parameter api_key."
        return f" The key is from the environment variable {self.key_variable}." if self.key_variable else ""

    def clean(self, text: str) -> str:
        """*text* without secrets, and not too long."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        text = " ".join(text.split())
        return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "…"


Make = Callable[[Translator, Any], LlamaForgeError]


@functools.cache
def exception_table() -> dict[type[BaseException], Make]:
    """Exception type to our error. A test holds it against every exception of the SDK and of the HTTP library."""
    import httpcore2
    import httpx2
    import openai as sdk

    def answered(translator: Translator, error: sdk.APIStatusError) -> LlamaForgeError:
        return translator.answer_error(error.status_code, error.body, error.response.headers)

    def in_band(translator: Translator, error: sdk.APIError) -> LlamaForgeError:
        return translator.answer_error(None, error.body if error.body is not None else error.message)

    def unreadable(translator: Translator, error: sdk.APIResponseValidationError) -> LlamaForgeError:
        return ServerError(translator.address, error.status_code, translator.clean(error.message))

    def unreached(translator: Translator, error: Exception) -> LlamaForgeError:
        cause = error.__cause__ or error
        return translator.unreached(connection_reason(cause))

    def garbled(translator: Translator, error: Exception) -> LlamaForgeError:
        return translator.gone(f"the answer can't be decompressed as its header Content-Encoding says ({error})")

    def silent(translator: Translator, error: Exception) -> LlamaForgeError:
        # A connection that can't be made in time says so by its type; the other timeouts are the server's silence.
        cause = error.__cause__ or error
        if isinstance(cause, httpx2.ConnectTimeout | httpx2.PoolTimeout):
            return translator.unreached("no connection could be established in time (load parameter timeout)")
        return translator.gone("the server sent nothing for too long (load parameter timeout)")

    def failed(translator: Translator, error: Exception) -> LlamaForgeError:
        return GenerationError(f"The openai SDK failed: {translator.clean(describe(error))}")

    table: dict[type[BaseException], Make] = {
        sdk.OpenAIError: failed,
        sdk.APIError: in_band,
        sdk.APIConnectionError: unreached,
        sdk.APITimeoutError: silent,
        sdk.APIResponseValidationError: unreadable,
        sdk.APIStatusError: answered,
        sdk.BadRequestError: answered,
        sdk.AuthenticationError: answered,
        sdk.OAuthError: answered,
        sdk.PermissionDeniedError: answered,
        sdk.NotFoundError: answered,
        sdk.ConflictError: answered,
        sdk.UnprocessableEntityError: answered,
        sdk.RateLimitError: answered,
        sdk.InternalServerError: answered,
        sdk.LengthFinishReasonError: failed,
        sdk.ContentFilterFinishReasonError: failed,
        sdk.InvalidWebhookSignatureError: failed,
        sdk.WebSocketConnectionClosedError: failed,
        sdk.WebSocketQueueFullError: failed,
        httpx2.HTTPError: unreached,
        httpx2.RequestError: unreached,
        httpx2.TransportError: unreached,
        httpx2.TimeoutException: silent,
        httpx2.ConnectTimeout: silent,
        httpx2.ReadTimeout: silent,
        httpx2.WriteTimeout: silent,
        httpx2.PoolTimeout: silent,
        httpx2.NetworkError: unreached,
        httpx2.ConnectError: unreached,
        httpx2.ReadError: unreached,
        httpx2.WriteError: unreached,
        httpx2.CloseError: unreached,
        httpx2.ProtocolError: unreached,
        httpx2.LocalProtocolError: unreached,
        httpx2.RemoteProtocolError: unreached,
        httpx2.ProxyError: unreached,
        httpx2.UnsupportedProtocol: unreached,
        httpx2.DecodingError: garbled,
        httpx2.TooManyRedirects: unreached,
        httpx2.HTTPStatusError: unreached,
        httpx2.InvalidURL: unreached,
        httpx2.CookieConflict: failed,
        httpx2.StreamError: unreached,
        httpx2.StreamConsumed: unreached,
        httpx2.StreamClosed: unreached,
        httpx2.ResponseNotRead: unreached,
        httpx2.RequestNotRead: unreached,
        # Of what we read ourselves from a connection.
        httpcore2.NetworkError: unreached,
        httpcore2.ProtocolError: unreached,
        httpcore2.TimeoutException: silent,
        # TLS failures and broken connections that the libraries below let through unmapped.
        OSError: unreached,
    }
    newer = getattr(httpx2, "SSEError", None)
    if newer is not None:
        table[newer] = unreached
    return table


def _whole(value: object) -> int | None:
    """A whole number, which some servers write as a string; or None."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from ``Retry-After`` (RFC 9110, section 10.2.3: seconds or a date) or ``retry-after-ms``."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        moment = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())
