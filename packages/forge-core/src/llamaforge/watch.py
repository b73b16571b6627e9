"""Watches one request from its start to its end and tells observers. Imported once somebody observes."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

from . import observing
from .cancellation import CancellationToken
from .embeddings import EmbeddingBatch, Totals
from .errors import ModelError, QueueFullError, RequestError
from .observation import MOST_TEXTS, ObservedRequest, Observer, Operation, Outcome, RequestEnd, tell, telling
from .requests import EmbeddingRequest, GenerationRequest
from .results import Event, Finished, ReasoningDelta, TextDelta, Timings, ToolCallBuffer, ToolCallDelta
from .text import TextBuffer

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
    request = ObservedRequest(
        id=_new_id(),
        operation=operation,
        backend=_asked(lambda: backend.name, type(backend).__name__),
        model=_asked(lambda: backend.model_name or backend.model_path or "", ""),
        server=_asked(lambda: backend.endpoint, None),
        started=time.time() - (time.perf_counter() - started),
        parameters=dict(parameters) if isinstance(parameters, Mapping) else {},
    )
    return Watch(observers, request, started)


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
        "_began",
        "_open",
        "_owner",
        "_told_start",
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
        self._began = began
        self._owner = os.getpid()
        self._open = [True]  # popping it is atomic: threads may end a request at once
        self._told_start = False

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
            total = time.perf_counter() - self._began
            details["timings"] = Timings(first_token=self.first, total=total)
        details.setdefault("parameters", self.request.parameters)
        end = RequestEnd(outcome=outcome, pieces=self.pieces, **details)
        bare = end
        if self._bare is not self.request:
            bare = dataclasses.replace(end, text=None, reasoning=None, tool_calls=())
        tell(
            (each, functools.partial(each.on_end, self._seen_by(each), end if each.content else bare))
            for each in self.observers
        )

    def _tell_start(self) -> None:
        self._told_start = True
        tell((each, functools.partial(each.on_start, self._seen_by(each))) for each in self.observers)

    def _seen_by(self, observer: Observer) -> ObservedRequest:
        return self.request if observer.content else self._bare

    def _kept(self, requests: Iterator[EmbeddingRequest]) -> Iterator[EmbeddingRequest]:
        for request in requests:
            left = MOST_TEXTS - len(self.request.texts)
            self.request.texts.extend(request.inputs[:left])
            yield request


class _Observed:
    """The events of a request on their way to its reader: what both kinds keep."""

    __slots__ = ("__weakref__", "_calls", "_events", "_reasoning", "_text", "_token", "_watch")

    def __init__(self, events: Any, watch: Watch, token: CancellationToken) -> None:
        self._events = events
        self._watch = watch
        self._token = token
        if watch.content:
            self._text = TextBuffer()
            self._reasoning = TextBuffer()
            self._calls = ToolCallBuffer()

    def see(self, event: Event) -> None:
        """The reader gets *event* now."""
        watch = self._watch
        if type(event) is Finished:
            self.over(
                "cancelled" if event.finish_reason == "cancelled" else "finished",
                finish_reason=event.finish_reason,
                usage=event.usage,
                timings=event.timings,
                parameters=event.parameters,
                dropped=event.dropped,
            )
            return
        watch.pieces += 1
        if watch.first is None:
            watch.first = time.perf_counter() - watch._began
        if watch.content:
            self._keep(event)

    def over(self, outcome: Outcome, **details: Any) -> None:
        """The request has ended."""
        self._watch.end(outcome, **details, **self._content())

    def fail(self, error: BaseException) -> None:
        """The reader gets *error*."""
        self._watch.fail(error, **self._content())

    def left(self) -> None:
        """Nobody reads any more."""
        if self._watch._open:
            if self._token.cancelled:
                self.over("cancelled", finish_reason="cancelled")
            else:
                self.over("abandoned")

    __del__ = left

    def _keep(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._text.write(event.text)
        elif isinstance(event, ReasoningDelta):
            self._reasoning.write(event.text)
        elif isinstance(event, ToolCallDelta):
            self._calls.add(event)

    def _content(self) -> dict[str, Any]:
        if not self._watch.content:
            return {}
        return {
            "text": str(self._text),
            "reasoning": str(self._reasoning),
            "tool_calls": self._calls.tool_calls,
        }


class ObservedEvents(_Observed, Iterator[Event]):
    """The events of a stream. It stands for the generator that it reads, also where that is closed."""

    __slots__ = ()

    def __next__(self) -> Event:
        try:
            event: Event = next(self._events)
        except StopIteration:
            raise
        except BaseException as error:
            self.fail(error)
            raise
        self.see(event)
        return event

    @property
    def gi_running(self) -> bool:
        """Whether a thread is inside, as generators say it."""
        return bool(getattr(self._events, "gi_running", False))

    def close(self) -> None:
        """Close the generator."""
        try:
            self._events.close()
        finally:
            self.left()


class AsyncObservedEvents(_Observed, AsyncIterator[Event]):
    """:class:`ObservedEvents`, for event loops."""

    __slots__ = ()

    async def __anext__(self) -> Event:
        try:
            event: Event = await anext(self._events)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self.fail(error)
            raise
        self.see(event)
        return event

    @property
    def ag_running(self) -> bool:
        """Whether a task is inside, as generators say it."""
        return bool(getattr(self._events, "ag_running", False))

    async def aclose(self) -> None:
        """Close the generator."""
        try:
            await self._events.aclose()
        finally:
            self.left()


class _ObservedBatches:
    """The batches of vectors of a call: what both kinds keep."""

    __slots__ = ("_batches", "_token", "_totals", "_watch")

    def __init__(self, batches: Any, watch: Watch, totals: Totals, token: CancellationToken) -> None:
        self._batches = batches
        self._watch = watch
        self._totals = totals
        self._token = token

    def ended(self) -> None:
        """There are no more."""
        totals = self._totals
        if totals.cancelled:
            self._watch.end("cancelled", usage=totals.usage, dropped=totals.dropped)
        else:
            self._watch.finish(totals)

    def left(self) -> None:
        """Nobody reads any more."""
        if self._watch._open:
            outcome: Outcome = "cancelled" if self._token.cancelled else "abandoned"
            self._watch.end(outcome, usage=self._totals.usage, dropped=self._totals.dropped)

    __del__ = left


class ObservedBatches(_ObservedBatches, Iterator[EmbeddingBatch]):
    """The batches of vectors of a call. It stands for the generator that it reads."""

    __slots__ = ()

    def __next__(self) -> EmbeddingBatch:
        try:
            batch: EmbeddingBatch = next(self._batches)
        except StopIteration:
            self.ended()
            raise
        except BaseException as error:
            self._watch.fail(error)
            raise
        self._watch.pieces += 1
        return batch

    @property
    def gi_running(self) -> bool:
        """Whether a thread is inside, as generators say it."""
        return bool(self._batches.gi_running)

    def close(self) -> None:
        """Close the generator."""
        try:
            self._batches.close()
        finally:
            self.left()


class AsyncObservedBatches(_ObservedBatches, AsyncIterator[EmbeddingBatch]):
    """:class:`ObservedBatches`, for event loops."""

    __slots__ = ()

    async def __anext__(self) -> EmbeddingBatch:
        try:
            batch: EmbeddingBatch = await anext(self._batches)
        except StopAsyncIteration:
            self.ended()
            raise
        except BaseException as error:
            self._watch.fail(error)
            raise
        self._watch.pieces += 1
        return batch

    @property
    def ag_running(self) -> bool:
        """Whether a task is inside, as generators say it."""
        return bool(self._batches.ag_running)

    async def aclose(self) -> None:
        """Close the generator."""
        try:
            await self._batches.aclose()
        finally:
            self.left()
