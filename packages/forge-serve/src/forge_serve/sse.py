"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

CONTENT_TYPE = b"text/event-stream; charset=utf-8"
PING = b": ping\n\n"
DONE = b"data: [DONE]\n\n"

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
"""A value as JSON."""


def data(value: Any) -> bytes:
    """An event without a name."""
    return b"data: %b\n\n" % encode(value)


def named(name: str, value: Any) -> bytes:
    """An event with a name."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(value))
