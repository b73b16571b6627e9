"""HTTP with a bound on what comes before a body: request line and headers."""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD: Final = 64 * 1024
"""Bytes of a request line with its headers that are waited for, at most."""
_REFUSED: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHeads(HttpToolsProtocol):
    """Ends a connection whose client goes on sending headers. The parser itself would collect them without end."""

    _head: int | None = 0
    """Bytes since the last request; None: its headers are complete."""
    _completed = False

    def data_received(self, data: bytes) -> None:
        """Parse *data*."""
        self._completed = False
        super().data_received(data)
        if self._head is None or self._completed:  # what was read was a body, or ended with one
            return
        self._head += len(data)
        if self._head > LARGEST_HEAD and not self.transport.is_closing():
            self.transport.write(_REFUSED)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The body comes next."""
        self._head = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Another request may follow."""
        self._head, self._completed = 0, True
        super().on_message_complete()
