"""Trying again, before the first byte of an answer has come.

The rules are the SDK's: lost connections, and the statuses 408, 409, 429 and 5xx; ``x-should-retry`` and
``Retry-After`` are obeyed. They are applied here because the SDK sleeps between two tries whatever a deadline says.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .errors import retry_after
from .scope import CancelScope

if TYPE_CHECKING:
    import openai

T = TypeVar("T")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0
_LONGEST_OBEYED = 120.0
"""A server that asks for a longer pause than this, in seconds, is not waited for: the caller decides."""


def with_retries(attempt: Callable[[], T], max_retries: int, scope: CancelScope) -> T:
    """What *attempt* returns; it is called again after a failure that may pass, while *scope* leaves time to."""
    import openai

    for tried in range(max_retries):
        try:
            return attempt()
        except (openai.APIConnectionError, openai.APIStatusError) as error:
            pause = _pause(error, tried)
            if pause is None or pause >= scope.left():
                raise
        scope.sleep(pause)
    return attempt()


def _pause(error: openai.APIConnectionError | openai.APIStatusError, tried: int) -> float | None:
    """Seconds until the next try; None where there is none."""
    import openai

    asked: float | None = None
    if isinstance(error, openai.APIStatusError):
        headers, status = error.response.headers, error.status_code
        asked = retry_after(headers)
        verdict = headers.get("x-should-retry")
        again = verdict == "true" or (verdict != "false" and (status in (408, 409, 429) or status >= 500))
        if not again or (asked or 0.0) > _LONGEST_OBEYED:
            return None
    if asked:
        return asked
    backoff: float = min(_FIRST_PAUSE * 2.0**tried, _LONGEST_PAUSE)
    return backoff * random.uniform(0.75, 1.0)  # noqa: S311 - spreads clients, guards nothing
