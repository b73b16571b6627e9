"""Requests from outside, on their way to a model: those of a server's clients, and the rows of a batch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from contextvars import Token
from typing import TYPE_CHECKING, Final, Self

from . import observing

if TYPE_CHECKING:
    from .observation import Operation, Outcome

TRACE_HEADERS: Final = frozenset(
    {"traceparent", "tracestate", "baggage", "b3", "uber-trace-id", "x-amzn-trace-id", "x-cloud-trace-context"}
    | {f"x-b3-{name}" for name in ("traceid", "spanid", "parentspanid", "sampled", "flags")}
)
"""Headers by which a trace goes on in a server, in lower case: those of W3C, B3, Jaeger, X-Ray and Cloud Trace."""
_NONE: Final[Mapping[type[BaseException], Outcome]] = {}


class arriving:  # noqa: N801 - reads as a statement
    """Handle a request from outside::

        with arriving("chat", headers) as arrival:
            arrival.model = ...
            answer = backend.chat(...)

    Whatever the block raises before a backend was asked ends a request, too: observers hear of its start and its end.
    Does nothing while nobody observes.

    Args:
        operation: what is asked for.
        headers: those of the HTTP request, as ASGI has them. Only those that carry a trace are kept.
        outcomes: how exceptions of the caller's own end a request. Others: LlamaForge's refuse it, a cancelled task
            cancels it, what nobody foresaw is a failure.
    """

    __slots__ = ("_began", "_outcomes", "_token", "headers", "model", "operation", "reached")

    def __init__(
        self,
        operation: Operation,
        headers: Iterable[tuple[bytes, bytes]] = (),
        outcomes: Mapping[type[BaseException], Outcome] = _NONE,
    ) -> None:
        self.operation: Operation = operation
        self._outcomes = outcomes
        self.model = ""
        """The model's name, once it is known."""
        self.reached = False
        """Whether a backend was asked: it tells observers from then on."""
        self.headers: dict[str, str] = {}
        self._token: Token[arriving | None] | None = None
        self._began = 0.0
        if observing.wanted and headers:
            for name, value in headers:
                known = name.decode("latin-1").lower()
                if known in TRACE_HEADERS:  # one that comes several times is one list
                    before = f"{self.headers[known]}," if known in self.headers else ""
                    self.headers[known] = before + value.decode("latin-1")

    def __enter__(self) -> Self:
        if observing.wanted:
            self._began = time.perf_counter()
            self._token = observing.arrival.set(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if self._token is None:
            return
        with contextlib.suppress(ValueError):  # the garbage collector closed the task, outside of its context
            observing.arrival.reset(self._token)
        if error is not None and not self.reached:
            from . import watch

            outcome = self._outcomes.get(type(error))
            watch.refuse(None, self.operation, None, error, self.model, self._began, self.headers, outcome)
