"""Trying again, before the first byte of an answer has come: where, when, and whether.

The rules are the SDK's: lost connections, and the statuses 408, 409, 429 and 5xx; ``x-should-retry`` and
``Retry-After`` are obeyed. They are applied here because the SDK sleeps between two tries whatever a deadline says, and
knows of one server only. What went out on a kept connection that the server had closed is sent again besides. No input
or output of its own.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import retry_after
from .cancel_scope import CancelScope
from .sdk import sdk

if TYPE_CHECKING:
    from .server_client import ServerClient

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0
_LONGEST_OBEYED = 120.0
"""A server that asks for a longer pause than this, in seconds, is not waited for: the caller decides."""


class Attempts:
    """The tries of one request.

    The least busy server is asked first. After a failure that may pass the next one is asked at once; where each has
    failed, the first whose pause is over is asked again.

    Args:
        servers: the servers.
        max_retries: how often each may be asked again.
        scope: no pause goes past its deadline.
    """

    __slots__ = ("_most", "_ready", "_scope", "_servers", "_tried")

    def __init__(self, servers: Sequence[ServerClient], max_retries: int, scope: CancelScope) -> None:
        self._servers = servers
        self._most = max_retries + 1
        self._scope = scope
        self._tried = [0] * len(servers)
        self._ready = [0.0] * len(servers)

    def next(self) -> tuple[ServerClient, float]:
        """Whom to ask, and how many seconds to wait before."""
        now = time.perf_counter()
        able = [index for index, tried in enumerate(self._tried) if tried < self._most]
        best = min(able, key=lambda i: (self._pause(i, now), self._servers[i].rests_until > now, self._servers[i].load))
        self._tried[best] += 1
        return self._servers[best], self._pause(best, now)

    def failed(self, server: ServerClient, error: Exception) -> bool:
        """Note that *server* failed with *error*. Returns whether there is somebody to ask now."""
        from .stale_connection import was_kept  # loads the HTTP library

        index = self._servers.index(server)
        if not self._scope.cancelled and was_kept(error):
            self._tried[index] -= 1
            return self._scope.left() > 0
        pause = None if self._scope.cancelled else _pause_after(error, self._tried[index] - 1)
        if pause is None:
            return False
        now = time.perf_counter()
        self._ready[index] = server.rests_until = now + pause
        left = min(self._scope.left(), _LONGEST_OBEYED)
        return any(tried < self._most and self._pause(i, now) < left for i, tried in enumerate(self._tried))

    def _pause(self, index: int, now: float) -> float:
        return max(0.0, self._ready[index] - now)


def _pause_after(error: Exception, tried: int) -> float | None:
    """Seconds for which a server that failed with *error* is left alone; None where no other try would help."""
    asked: float | None = None
    if isinstance(error, sdk.APIStatusError):
        headers, status = error.response.headers, error.status_code
        asked = retry_after(headers)
        verdict = headers.get("x-should-retry")
        again = verdict == "true" or (verdict != "false" and (status in (408, 409, 429) or status >= 500))
        if not again:
            return None
    elif not isinstance(error, sdk.APIConnectionError):
        return None
    if asked:
        return asked
    backoff = min(_FIRST_PAUSE * math.pow(2, tried), _LONGEST_PAUSE)
    return backoff * random.uniform(0.75, 1.0)  # noqa: S311 - spreads clients, guards nothing
