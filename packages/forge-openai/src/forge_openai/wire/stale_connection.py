"""A connection that was kept for the next request and that the server has closed meanwhile."""

from __future__ import annotations

from httpcore2 import ReadError


class KeptConnectionClosed(ReadError):
    """The connection ended before a byte of the answer came, and an earlier answer had come on it.

    A server may close a connection that waits (RFC 9112, section 9.5), as llama.cpp's does after every stream, while a
    request is on its way. So the end says nothing about the request: sending it on another connection is no second try.
    """

    def __init__(self) -> None:
        super().__init__("The server has closed the connection.")


def was_kept(error: BaseException) -> bool:
    """Whether that is why the SDK raised *error*: its cause is httpx's exception, whose cause is httpcore's."""
    below = error.__cause__
    return isinstance(below.__cause__ if below is not None else None, KeptConnectionClosed)
