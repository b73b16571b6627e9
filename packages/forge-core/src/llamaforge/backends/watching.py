"""Where a request begins to be watched, while there are observers. They cost no import while there are none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .. import observing

if TYPE_CHECKING:
    from ..observation import Operation
    from ..watch import Watch
else:
    Operation = str
    Watch = Any

__all__ = ["Operation", "Watch", "begin", "refusals", "refused", "watching"]


def begin(backend: Any, operation: Operation, parameters: object, started: float) -> Watch | None:
    """See :func:`llamaforge.watch.begin`. To be called only if ``observing.wanted`` is true."""
    from .. import watch

    return watch.begin(backend, operation, parameters, started)


def refused(backend: Any, operation: Operation, parameters: object, error: Exception, model: object = None) -> None:
    """Tell of a request that *error* ends before its backend has begun it.

    Args:
        backend: None: none was reached.
        operation: what was called.
        parameters: the caller's.
        error: what the caller gets.
        model: the model's name, where no backend was reached.
    """
    if observing.wanted:
        from .. import watch

        watch.refuse(backend, operation, parameters, error, model)


class refusals:  # noqa: N801 - reads as a statement
    """What the block raises ends a request that has not been begun: see :func:`refused`."""

    __slots__ = ("_arguments",)

    def __init__(self, backend: Any, operation: Operation, parameters: object) -> None:
        self._arguments = backend, operation, parameters

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception):
            refused(*self._arguments, error)


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
