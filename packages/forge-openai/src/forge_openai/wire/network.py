"""Sockets that obey a scope.

An HTTP client's timeouts count from one byte to the next, so a server that sends a byte now and then outlives any of
them; and nothing wakes a thread that waits for a server. So the time left and the cancellation are applied where the
bytes come in.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

from .cancel_scope import current_scope
from .framing import LAST_CHUNK, Inlet, Outlet

if TYPE_CHECKING:
    from httpcore2 import NetworkStream

_SOON = 0.001
"""A socket's timeout of 0 would mean not to wait at all, which is another kind of error."""
_PIECE = 65536


def pools_of(client: object) -> list[Any]:
    """The connection pools of an HTTP client, those to proxies included; empty where they are not found.

    httpcore takes a network backend, but httpx has no way to hand one on, and a transport of our own would lose the
    proxies that it reads from the environment. So the pools that httpx made get theirs from us.
    """
    transports = [getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()]
    pools: list[Any] = [getattr(transport, "_pool", None) for transport in transports if transport is not None]
    return pools if all(hasattr(pool, "_network_backend") for pool in pools) else []


def bound_network(client: object) -> bool:
    """Put all sockets of an HTTP client under their threads' scopes.

    Returns False where they are not found: deadlines are then only as exact as the client's own timeouts.
    """
    pools = pools_of(client)
    for pool in pools:
        pool._network_backend = _ScopedNetwork(pool._network_backend)
    return bool(pools)


class ScopedStream:
    """A network stream of httpcore."""

    def __init__(self, stream: NetworkStream) -> None:
        self._stream = stream
        self._inlet = Inlet()
        self._outlet = Outlet()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """For the HTTP library."""
        self._send(self._outlet.rest(), timeout)
        inlet = self._inlet
        data = inlet.take()
        while not data:
            came = self._receive_head(max_bytes, timeout) if inlet.waits_again else self._receive(max_bytes, timeout)
            data = inlet.accept(came)
            if not came:
                break
        return data

    def receive(self, timeout: float | None = None) -> bytes:
        """The next bytes of a body that the HTTP library leaves to us; empty at the end of the connection."""
        return self._inlet.take() or self._receive(_PIECE, timeout)

    def body_was_read(self, rest: bytes) -> None:
        """Have the HTTP library see the end of the body, and *rest* after it."""
        self._inlet.rest = LAST_CHUNK + rest

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send *buffer*, a request's head together with its body."""
        self._inlet.request_sent()
        self._send(self._outlet.accept(buffer), timeout)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> ScopedStream:
        """The connection with TLS on it."""
        return ScopedStream(self._stream.start_tls(ssl_context, server_hostname, timeout=_within(timeout)))

    def get_extra_info(self, info: str) -> object:
        """What httpcore asks of a connection, by httpcore's names."""
        if info == "is_readable" and self._inlet.rest:
            return True
        return self._stream.get_extra_info(info)

    def _send(self, buffer: bytes, timeout: float | None) -> None:
        # In pieces, because the stream below sends all of what it gets, with the whole timeout for each part of it.
        for start in range(0, len(buffer), _PIECE):
            self._bounded(self._stream.write, buffer[start : start + _PIECE], timeout)

    def _receive(self, max_bytes: int, timeout: float | None) -> bytes:
        data: bytes = self._bounded(self._stream.read, max_bytes, timeout)
        return data

    def _receive_head(self, max_bytes: int, timeout: float | None) -> bytes:
        """The first bytes of a further answer. Raises KeptConnectionClosed where the server closed the connection."""
        from httpcore2 import ReadError

        from .stale_connection import KeptConnectionClosed

        try:
            came = self._receive(max_bytes, timeout)
        except ReadError as error:
            raise KeptConnectionClosed from error
        if not came:
            raise KeptConnectionClosed
        return came

    def _bounded(self, wait: Any, what: Any, timeout: float | None) -> Any:
        scope = current_scope()
        if scope is None:
            return wait(what, timeout=timeout)
        scope.waiting(self._shut_down)
        try:
            return wait(what, timeout=_within(timeout))
        finally:
            scope.waiting(None)

    def _shut_down(self) -> None:
        """End a read that another thread waits in. Closing the socket would not: only its shutdown wakes a reader."""
        endpoint = self._stream.get_extra_info("socket")
        if isinstance(endpoint, socket.socket):
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: it takes the TLS layer from under the reader.
                socket.socket.shutdown(endpoint, socket.SHUT_RDWR)


class _ScopedNetwork:
    """A network backend of httpcore whose streams obey their threads' scopes."""

    def __init__(self, network: Any) -> None:
        self._network = network

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, **options: Any) -> Any:
        return ScopedStream(self._network.connect_tcp(host, port, timeout=_within(timeout), **options))

    def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> Any:
        return ScopedStream(self._network.connect_unix_socket(path, timeout=_within(timeout), **options))

    def sleep(self, seconds: float) -> None:
        self._network.sleep(seconds)


def _within(timeout: float | None) -> float | None:
    """The shorter of *timeout* and what this thread's scope leaves."""
    scope = current_scope()
    if scope is None or not scope.bounded:
        return timeout
    left = max(scope.left(), _SOON)
    return left if timeout is None else min(timeout, left)
