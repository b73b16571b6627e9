"""A proxy that harms what passes: it stands before a sound server and does to each answer what it is told.

It forwards each request whole, reads the whole answer, and hands its bytes, from the status line on, to a fault. Every
fault is a function of those bytes and of the client's end of the connection; :func:`passing` is the one that harms
nothing.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from typing import Self
from urllib.parse import urlsplit


class Left(Exception):
    """The client has gone."""


class ClientEnd:
    """The connection to the client, as faults use it."""

    def __init__(self, connection: socket.socket, proxy: FaultProxy) -> None:
        self._connection = connection
        self._proxy = proxy

    def send(self, data: bytes) -> None:
        try:
            self._connection.sendall(data)
        except OSError:
            self._proxy.left.set()
            raise Left from None

    def wait(self, seconds: float) -> None:
        """Do nothing for a while; at the proxy's end, go on at once."""
        if self._proxy.closing.wait(seconds):
            raise Left

    def reset(self) -> None:
        """End the connection by a reset."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Left

    def close(self) -> None:
        """End the connection in good order."""
        raise Left


Fault = Callable[[bytes, ClientEnd], None]


def passing(answer: bytes, client: ClientEnd) -> None:
    client.send(answer)


def delayed(seconds: float, after: int = 0) -> Fault:
    """Nothing for a while once *after* bytes have come."""

    def fault(answer: bytes, client: ClientEnd) -> None:
        client.send(answer[:after])
        client.wait(seconds)
        client.send(answer[after:])

    return fault


def reset(after: bytes | None = None) -> Fault:
    """A reset behind the first *after*; None: before the first byte."""

    def fault(answer: bytes, client: ClientEnd) -> None:
        client.send(until(answer, after))
        client.wait(0.05)  # a reset overtakes what was sent before it
        client.reset()

    return fault


def cut(after: bytes | None = None) -> Fault:
    """An orderly end behind the first *after*; None: before the first byte."""

    def fault(answer: bytes, client: ClientEnd) -> None:
        client.send(until(answer, after))
        client.close()

    return fault


def instead(answer: bytes) -> Fault:
    """Another answer altogether."""
    return lambda _, client: client.send(answer)


def status(code: int, body: bytes = b'{"error": {"message": "No.", "code": null}}', **headers: str) -> Fault:
    """Another status. Underscores in header names stand for hyphens."""
    named = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = f"HTTP/1.1 {code} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return instead(head.encode() + b"\r\n" + body)


def replaced(old: bytes, new: bytes) -> Fault:
    """Something else in one place. (In a chunked body both are of one length, or the framing breaks, too.)"""

    def fault(answer: bytes, client: ClientEnd) -> None:
        assert old in answer
        client.send(answer.replace(old, new, 1))

    return fault


def endless(after: bytes, more: bytes) -> Fault:
    """Behind *after* comes *more*, again and again; nothing at all, where *more* is empty."""

    def fault(answer: bytes, client: ClientEnd) -> None:
        client.send(until(answer, after))
        while True:
            client.wait(0.01)
            client.send(more)

    return fault


def in_pieces(size: int) -> Fault:
    """So many bytes at a time, each on its own way."""

    def fault(answer: bytes, client: ClientEnd) -> None:
        for start in range(0, len(answer), size):
            client.send(answer[start : start + size])

    return fault


def until(answer: bytes, after: bytes | None) -> bytes:
    if after is None:
        return b""
    return answer[: answer.index(after) + len(after)]


class FaultProxy:
    """Harms the answers of *upstream* to POSTs, in turn, by *faults*; the last one for ever. A GET passes unharmed."""

    def __init__(self, upstream: str, *faults: Fault) -> None:
        self._upstream = urlsplit(upstream)
        self._faults = list(faults)
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.asked: list[float] = []
        """When each POST came, by time.perf_counter()."""
        self.left = threading.Event()
        """Set once a client has gone while it was being answered."""
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"http://127.0.0.1:{self._server.getsockname()[1]}{self._upstream.path}"

    def then(self, faults: Iterable[Fault]) -> None:
        """From now on these."""
        with self._lock:
            self._faults = list(faults)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, contextlib.suppress(Left, OSError):
            while request := self._read_request(connection):
                fault = passing
                if request.startswith(b"POST"):
                    with self._lock:
                        self.asked.append(time.perf_counter())
                        fault = self._faults.pop(0) if len(self._faults) > 1 else self._faults[0]
                fault(self._forward(request), ClientEnd(connection, self))

    def _read_request(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return b""
            data += piece
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", data)
        size = data.index(b"\r\n\r\n") + 4 + (int(found[1]) if found else 0)
        while len(data) < size:
            data += connection.recv(65536)
        return data

    def _forward(self, request: bytes) -> bytes:
        request = re.sub(rb"(?i)\r\nconnection: [^\r]*", b"", request).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        with socket.create_connection((self._upstream.hostname, self._upstream.port)) as upstream:
            upstream.sendall(request)
            answer = b""
            while piece := upstream.recv(65536):
                answer += piece
        return re.sub(rb"(?i)\r\nconnection: close", b"", answer, count=1)
