# ruff: noqa: ASYNC109 - the signatures are httpcore's
"""Sockets of an event loop, for httpcore: asyncio's own, without a task or a cancel scope for each read."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from typing import Any, Final

from httpcore2 import ConnectError, ConnectTimeout, ReadError, ReadTimeout, WriteError, WriteTimeout

from .framing import LAST_CHUNK, Inlet, Outlet
from .network import pools_of
from .stale_connection import KeptConnectionClosed

_HIGH_WATER: Final = 1 << 18
"""Bytes that may wait for a slow reader before the server has to."""


def bind_to_loop(client: object) -> bool:
    """Give an asynchronous HTTP client these sockets. Returns False where its pools are not found."""
    pools = pools_of(client)
    for pool in pools:
        pool._network_backend = _LoopNetwork()
    return bool(pools)


class LoopStream(asyncio.Protocol):
    """A network stream of httpcore, and the protocol of its own transport."""

    def __init__(self) -> None:
        self._inlet = Inlet()
        self._outlet = Outlet()
        self._transport: Any = None
        self._came: list[bytes] = []
        self._waits = 0  # bytes in _came
        self._ended = False
        self._failure: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._blocked = False

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        self._came.append(data)
        self._waits += len(data)
        if self._waits > _HIGH_WATER:
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> None:
        """Part of asyncio.Protocol."""
        self._ended = True
        _wake(self._reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        self._ended, self._failure = True, exc
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        """Part of asyncio.Protocol."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Part of asyncio.Protocol."""
        self._blocked = False
        _wake(self._writer)

    # What httpcore calls.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Bytes for the HTTP library: of a response's head, or of a body that it reads itself."""
        await self._send(self._outlet.rest(), timeout)
        inlet = self._inlet
        data = inlet.take()
        while not data:
            came = await (self._receive_head(timeout) if inlet.waits_again else self._receive(timeout))
            data = inlet.accept(came)
            if not came:
                break
        return data

    async def receive(self, timeout: float | None = None) -> bytes:
        """The next bytes of a body that the HTTP library leaves to us; empty at the end of the connection."""
        return self._inlet.take() or await self._receive(timeout)

    def body_was_read(self, rest: bytes) -> None:
        """Have the HTTP library see the end of the body, and *rest* after it."""
        self._inlet.rest = LAST_CHUNK + rest

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send *buffer*, a request's head together with its body."""
        self._inlet.request_sent()
        await self._send(self._outlet.accept(buffer), timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        # Not the transport's close(): that would wait for a peer that may be gone.
        self._transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> LoopStream:
        """The connection with TLS on it."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                self._transport = await loop.start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            await self.aclose()
            raise ConnectTimeout(str(error)) from error
        except OSError as error:  # ssl.SSLError is one
            await self.aclose()
            raise ConnectError(str(error)) from error
        self._inlet = Inlet()
        return self

    def get_extra_info(self, info: str) -> object:
        """What httpcore asks of a connection, by httpcore's names."""
        if info == "is_readable":
            return bool(self._came or self._ended or self._inlet.rest)
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names.get(info, info))

    async def _send(self, buffer: bytes, timeout: float | None) -> None:
        if not buffer:
            return
        if self._transport.is_closing():
            raise WriteError("The connection is closed.")
        self._transport.write(buffer)
        while self._blocked and not self._ended:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._writer
            except TimeoutError as error:
                raise WriteTimeout(str(error)) from error
            finally:
                self._writer = None

    async def _receive(self, timeout: float | None) -> bytes:
        if not self._came and not self._ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._reader
            except TimeoutError as error:
                raise ReadTimeout(str(error)) from error
            finally:
                self._reader = None
        if self._came:
            data = self._came[0] if len(self._came) == 1 else b"".join(self._came)
            self._came.clear()
            if self._waits > _HIGH_WATER and not self._ended:
                self._transport.resume_reading()
            self._waits = 0
            return data
        if self._failure is not None:
            raise ReadError(str(self._failure)) from self._failure
        return b""

    async def _receive_head(self, timeout: float | None) -> bytes:
        """The first bytes of a further answer. Raises KeptConnectionClosed where the server closed the connection."""
        try:
            came = await self._receive(timeout)
        except ReadError as error:
            raise KeptConnectionClosed from error
        if not came:
            raise KeptConnectionClosed
        return came


class _LoopNetwork:
    """A network backend of httpcore for the running event loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[tuple[Any, ...]] | None = None,
    ) -> LoopStream:
        local = None if local_address is None else (local_address, 0)
        loop = asyncio.get_running_loop()
        return await self._connect(
            loop.create_connection(LoopStream, host, port, local_addr=local, happy_eyeballs_delay=0.25),
            timeout,
            socket_options,
        )

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[tuple[Any, ...]] | None = None
    ) -> LoopStream:
        loop = asyncio.get_running_loop()
        return await self._connect(loop.create_unix_connection(LoopStream, path), timeout, socket_options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _connect(self, connecting: Any, timeout: float | None, options: Any) -> LoopStream:
        stream: LoopStream
        try:
            async with asyncio.timeout(timeout):
                transport, stream = await connecting
        except TimeoutError as error:
            raise ConnectTimeout(str(error)) from error
        except OSError as error:
            raise ConnectError(str(error)) from error
        endpoint: socket.socket = transport.get_extra_info("socket")
        for option in options or ():
            endpoint.setsockopt(*option)
        return stream


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
