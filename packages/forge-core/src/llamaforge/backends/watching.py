"""Where a request begins to be watched, while there are observers. They cost no import while there are none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .. import observing

if TYPE_CHECKING:
    from ..observation import Operation
    from ..watch import Watch
else:
    Watch = Any

__all__ = ["Watch", "begin", "watching"]


def begin(backend: Any, operation: Operation, parameters: object, started: float) -> Watch | None:
    """See :func:`llamaforge.watch.begin`. To be called only if ``observing.wanted`` is true."""
    from .. import watch

    return watch.begin(backend, operation, parameters, started)


class watching:  # noqa: N801 - reads as a statement
    """Watch a call of *backend*; gives None while nobody observes. Whatever the block raises ends the request."""

    __slots__ = ("_watch",)

    def __init__(self, backend: Any, operation: Operation) -> None:
        self._watch = begin(backend, operation, None, time.perf_counter()) if observing.wanted else None

    def __enter__(self) -> Watch | None:
        return self._watch

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and self._watch is not None:
            self._watch.fail(error)
