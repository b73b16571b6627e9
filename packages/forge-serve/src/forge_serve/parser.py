"""httptools' parser for requests that offer another protocol: the offer is declined, and HTTP/1.1 goes on.

Java's HTTP client, for one, offers HTTP/2 with every request that isn't encrypted. httptools takes the body of such a
request, and all that follows, for the other protocol, and has no setting for it. A server may ignore the offer
(https://www.rfc-editor.org/rfc/rfc9110#section-7.8); the body then is what its headers say.
"""

from __future__ import annotations

from typing import Any, Final

import httptools

_FRAMING: Final = (b"content-length", b"transfer-encoding")


class RequestParser:
    """Parses requests as :class:`httptools.HttpRequestParser` does, for a protocol with the same callbacks.

    Args:
        protocol: has those callbacks, and ``headers``: those of the last request, their names in lower case. It asks
            :attr:`skipped_body` at the end of a message.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._start(protocol)

    def feed_data(self, data: bytes) -> None:
        """Parse *data*. Raises :class:`httptools.HttpParserError`."""
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as offered:
                data = data[offered.args[0] :]
                self._go_on()
                if data:
                    continue
            return

    @property
    def skipped_body(self) -> bool:
        """Whether the message that ends now only seems to: its body comes yet."""
        return bool(self._parser.should_upgrade() and _framing(self._protocol.headers))

    def _start(self, callbacks: Any) -> None:
        self._parser = httptools.HttpRequestParser(callbacks)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self.get_http_version = self._parser.get_http_version
        self.get_method = self._parser.get_method
        self.should_keep_alive = self._parser.should_keep_alive
        self.should_upgrade = self._parser.should_upgrade

    def _go_on(self) -> None:
        framing = _framing(self._protocol.headers)
        if not framing:
            self._start(self._protocol)
            return
        callbacks = _BehindHead(self._protocol)
        self._start(callbacks)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(b"%b: %b\r\n" % header for header in framing))
        callbacks.behind = True


class _BehindHead:
    """A protocol's callbacks; those of the first head, which it has had already, are left out."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self.behind = False
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        if self.behind:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.behind:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.behind:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.behind:
            self._protocol.on_headers_complete()


def _framing(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Those that say how long the body is; none where there is no body."""
    return [header for header in headers if header[0] in _FRAMING and header[1] != b"0"]
