"""Watches one request from its start to its end and tells observers. Imported once somebody observes."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

from . import observing
from .cancellation import CancellationToken
from .embeddings import EmbeddingBatch, Totals
from .errors import LlamaForgeError, ModelError, QueueFullError, RequestError
from .observation import MOST_TEXTS, ObservedRequest, Observer, Operation, Outcome, RequestEnd, tell, telling
from .observed_streams import AsyncObservedBatches, AsyncObservedEvents, ObservedBatches, ObservedEvents
from .requests import EmbeddingRequest, GenerationRequest
from .results import Event, Timings

_LONGEST_NAME: Final = 200
"""Characters of a model's name that is none of ours: it may be anything."""
_numbers = itertools.count(1)
_owner: int | None = None
_prefix = ""


def _new_id() -> str:
    """``PROCESS-NUMBER``. The process' part is random, since numbers of processes come again."""
    global _owner, _prefix
    if os.getpid() != _owner:
        _prefix, _owner = os.urandom(6).hex(), os.getpid()
    return f"{_prefix}-{next(_numbers)}"


def begin(backend: Any, operation: Operation, parameters: object, started: float) -> Watch | None:
    """Watch a request of *backend*; None if nobody is attached after all.

    Args:
        backend: the :class:`~llamaforge.backends.base.BaseBackend` that was asked.
        operation: what was called.
        parameters: the caller's.
        started: when, by ``time.perf_counter()``.
    """
    if observing.pending:
        import importlib  # of a layer above, which knows plugins

        importlib.import_module("llamaforge.observers").load_pending()
    observers = observing.attached
    if not observers or telling.now:
        return None
    arrival = observing.arrival.get()
    if arrival is not None:
        arrival.reached = True
    request = ObservedRequest(
        id=_new_id(),
        operation=operation,
        backend=_asked(lambda: backend.name, type(backend).__name__) if backend is not None else "",
        model=_asked(lambda: backend.model_name or backend.model_path or "", "") if backend is not None else "",
        server=_asked(lambda: backend.endpoint, None) if backend is not None else None,
        started=time.time() - (time.perf_counter() - started),
        parameters=dict(parameters) if isinstance(parameters, Mapping) else {},
        incoming=arrival.headers if arrival is not None else {},
    )
    return Watch(observers, request, started)


def refuse(
    backend: Any,
    operation: Operation,
    parameters: object,
    error: BaseException,
    model: object = None,
    began: float | None = None,
    headers: Mapping[str, str] | None = None,
    outcome: Outcome | None = None,
) -> None:
    """Tell the start and the end of a request that no backend has begun.

    Args:
        backend: the one that was to be asked. None: none was reached.
        operation: what was called.
        parameters: the caller's.
        error: what the caller gets.
        model: the name that the caller gave, where no backend was reached.
        began: when, by ``time.perf_counter()``. None: now.
        headers: those that carry a trace.
        outcome: None: as *error* says. Any error of LlamaForge's refuses the request, as no work was done.
    """
    watch = begin(backend, operation, parameters, time.perf_counter() if began is None else began)
    if watch is None:
        return
    if isinstance(model, str) and backend is None:
        watch.request.model = model[:_LONGEST_NAME]
    if headers:
        watch.request.incoming = headers
    if outcome is None and isinstance(error, LlamaForgeError):
        outcome = "refused"
    if outcome is None:
        watch.fail(error)
    else:
        watch.end(outcome, error=error if outcome in ("refused", "failed") else None)


def _asked(question: Callable[[], Any], otherwise: Any) -> Any:
    """A plugin's property must not fail a request just because somebody observes it."""
    try:
        return question()
    except Exception:  # noqa: BLE001 - whatever it is, the request doesn't need it
        return otherwise


class Watch:
    """One request, and those who hear of it: the observers that were attached when it began."""

    __slots__ = (
        "_bare",
        "_open",
        "_owner",
        "_told_start",
        "began",
        "content",
        "first",
        "observers",
        "pieces",
        "request",
    )

    def __init__(self, observers: tuple[Observer, ...], request: ObservedRequest, began: float) -> None:
        self.observers = observers
        self.request = request
        wanting = sum(bool(observer.content) for observer in observers)
        self.content = wanting > 0
        self._bare = request if wanting in (0, len(observers)) else dataclasses.replace(request, texts=[])
        """What the observers get that want no content."""
        self.first: float | None = None
        """Seconds until the first piece."""
        self.pieces = 0
        self.began = began
        self._owner = os.getpid()
        self._open = [True]  # popping it is atomic: threads may end a request at once
        self._told_start = False

    @property
    def is_open(self) -> bool:
        """Whether the end has not been told yet."""
        return bool(self._open)

    def start(self, parameters: dict[str, Any], token: CancellationToken) -> None:
        """The request was accepted: tell its start. *token* takes the headers that observers add."""
        self.request.parameters = self._bare.parameters = parameters
        self._tell_start()
        if self.request.headers:
            token.headers = self.request.headers

    def start_generation(self, request: GenerationRequest, token: CancellationToken) -> None:
        """:meth:`start` for a request for text."""
        self.start_basic(request, request.parameters(), token)

    def start_basic(self, request: GenerationRequest, parameters: dict[str, Any], token: CancellationToken) -> None:
        """:meth:`start_generation` for a basic backend, which gets any *parameters*."""
        if self.content:
            self.request.prompt, self.request.messages = request.prompt, request.messages
        self.start(parameters, token)

    def events(self, events: Iterator[Event], token: CancellationToken) -> Iterator[Event]:
        """*events*, and what becomes of them."""
        return ObservedEvents(events, self, token)

    def aevents(self, events: AsyncIterator[Event], token: CancellationToken) -> AsyncIterator[Event]:
        """:meth:`events`, for event loops."""
        return AsyncObservedEvents(events, self, token)

    def start_embedding(
        self, requests: Iterator[EmbeddingRequest], parameters: dict[str, Any], token: CancellationToken
    ) -> Iterator[EmbeddingRequest]:
        """:meth:`start` for ``embed``; *requests*, whose texts are kept if somebody wants content."""
        self.start(parameters, token)
        return self._kept(requests) if self.content else requests

    def start_ranking(
        self, query: str, documents: list[str], parameters: dict[str, Any], token: CancellationToken
    ) -> None:
        """:meth:`start` for ``rerank``."""
        if self.content:
            self.request.prompt = query
            self.request.texts.extend(documents[:MOST_TEXTS])
        self.start(parameters, token)

    def batches(
        self, batches: Iterator[EmbeddingBatch], totals: Totals, token: CancellationToken
    ) -> Iterator[EmbeddingBatch]:
        """*batches*, and what becomes of them."""
        return ObservedBatches(batches, self, totals, token)

    def abatches(
        self, batches: AsyncIterator[EmbeddingBatch], totals: Totals, token: CancellationToken
    ) -> AsyncIterator[EmbeddingBatch]:
        """:meth:`batches`, for event loops."""
        return AsyncObservedBatches(batches, self, totals, token)

    def finish(self, totals: Totals) -> None:
        """A call for vectors or a ranking has its result."""
        self.end("finished", usage=totals.details["usage"], timings=totals.timings, dropped=totals.dropped)

    def fail(self, error: BaseException, **details: Any) -> None:
        """*error* reaches the caller."""
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit):
            self.end("cancelled", **details)
        elif not self.pieces and isinstance(error, RequestError | ModelError | QueueFullError):
            self.end("refused", error=error, **details)
        else:
            self.end("failed", error=error, **details)

    def end(self, outcome: Outcome, **details: Any) -> None:
        """Tell the end; only the first one counts. In a forked child, nothing is told: it is the parent's request."""
        try:
            self._open.pop()
        except IndexError:
            return
        if os.getpid() != self._owner:
            return
        if not self._told_start:
            self._tell_start()
        if details.get("timings") is None:
            total = time.perf_counter() - self.began
            details["timings"] = Timings(first_token=self.first, total=total)
        details.setdefault("parameters", self.request.parameters)
        end = RequestEnd(outcome=outcome, pieces=self.pieces, **details)
        bare = end
        if self._bare is not self.request:
            bare = dataclasses.replace(end, text=None, reasoning=None, tool_calls=())
        tell(
            [
                (each, functools.partial(each.on_end, self._seen_by(each), end if each.content else bare))
                for each in self.observers
            ]
        )

    def _tell_start(self) -> None:
        self._told_start = True
        tell([(each, functools.partial(each.on_start, self._seen_by(each))) for each in self.observers])

    def _seen_by(self, observer: Observer) -> ObservedRequest:
        return self.request if observer.content else self._bare

    def _kept(self, requests: Iterator[EmbeddingRequest]) -> Iterator[EmbeddingRequest]:
        for request in requests:
            left = MOST_TEXTS - len(self.request.texts)
            self.request.texts.extend(request.inputs[:left])
            yield request
