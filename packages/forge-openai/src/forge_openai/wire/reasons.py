"""Describes connection errors: what happened, and what to do. Decided by the exception's type, never by its text."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from .environment import certificate_advice

_IN_WORDS: Final = {
    "ConnectError": "no connection could be established",
    "ReadError": "the connection broke while the answer was read",
    "WriteError": "the connection broke while the request was sent",
    "CloseError": "the connection could not be closed",
    "KeptConnectionClosed": "the server closed the connection",
    "TooManyRedirects": "the server redirects endlessly",
}
"""Exceptions of the HTTP library that often have no text."""


def describe(error: BaseException) -> str:
    """A description of the exception. A bare value, such as a KeyError's, is preceded by the exception's type."""
    name, text = type(error).__name__, str(error)
    if not text:
        return f"{_IN_WORDS[name]} ({name})" if name in _IN_WORDS else name
    told = isinstance(error, OSError) or type(error).__module__.partition(".")[0] in ("httpx2", "httpcore2", "openai")
    return text if told else f"{name}: {text}"


def connection_reason(error: BaseException) -> str:
    """Why the connection to a server failed, and what to do, from *error* and its causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return f"the host name can't be resolved ({cause.strerror}). Check the address and the network."
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused. Check that the server is running and that this is its port."
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"{describe(error)}. {certificate_advice()}"
        if isinstance(cause, ssl.SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return f"{describe(error)}. The server does not speak TLS: try http:// instead of https://."
        cause = cause.__cause__ or cause.__context__
    return describe(error)
