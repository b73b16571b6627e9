"""The streams of a watched request: each stands for the generator that it reads, and tells what becomes of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from .cancellation import CancellationToken
from .embeddings import EmbeddingBatch, Totals
from .observation import Outcome
from .results import Event, Finished, ReasoningDelta, TextDelta, ToolCallBuffer, ToolCallDelta
from .text import TextBuffer

if TYPE_CHECKING:
    from .watch import Watch


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
            watch.first = time.perf_counter() - watch.began
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
        if self._watch.is_open:
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
        if self._watch.is_open:
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
