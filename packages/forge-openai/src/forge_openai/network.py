"""Sockets that obey a scope.

An HTTP client's timeouts count from one byte to the next, so a server that sends a byte now and then outlives any of
them; and nothing wakes a thread that waits for a server. So the time left and the cancellation are applied where the
bytes come in.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from .scope import current_scope

_SOON = 0.001
"""A socket's timeout of 0 would mean not to wait at all, which is another kind of error."""
_PIECE = 65536


def bound_network(client: Any) -> bool:
    """Put all sockets of an HTTP client under their threads' scopes, those to a proxy included.

    httpcore takes a network backend, but httpx has no way to hand one on, and a transport of our own would lose the
    proxies that it reads from the environment. So the pools that httpx made get theirs here. Returns False where they
    are not found: deadlines are then only as exact as the client's own timeouts.
    """
    transports = [getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()]
    pools: list[Any] = [getattr(transport, "_pool", None) for transport in transports if transport is not None]
    if not pools or not all(hasattr(pool, "_network_backend") for pool in pools):
        return False
    for pool in pools:
        pool._network_backend = _ScopedNetwork(pool._network_backend)
    return True


def _within(timeout: float | None) -> float | None:
    """The shorter of *timeout* and what this thread's scope leaves."""
    scope = current_scope()
    if scope is None or not scope.bounded:
        return timeout
    left = max(scope.left(), _SOON)
    return left if timeout is None else min(timeout, left)


class _ScopedStream:
    """A network stream of httpcore."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with self._waiting():
            data: bytes = self._stream.read(max_bytes, timeout=_within(timeout))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In pieces, because the stream below sends all of what it gets, with the whole timeout for each part of it.
        with self._waiting():
            for start in range(0, len(buffer), _PIECE):
                self._stream.write(buffer[start : start + _PIECE], timeout=_within(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        return _ScopedStream(self._stream.start_tls(ssl_context, server_hostname, timeout=_within(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        scope = current_scope()
        if scope is None:
            yield
            return
        scope.waiting(self._shut_down)
        try:
            yield
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
        return _ScopedStream(self._network.connect_tcp(host, port, timeout=_within(timeout), **options))

    def connect_unix_socket(self, path: str, timeout: float | None = None, **options: Any) -> Any:
        return _ScopedStream(self._network.connect_unix_socket(path, timeout=_within(timeout), **options))

    def sleep(self, seconds: float) -> None:
        self._network.sleep(seconds)
