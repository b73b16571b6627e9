"""Streams of an answer, for threads and for event loops."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .cancellation import CancellationToken
from .errors import GenerationError
from .results import (
    Event,
    Finished,
    GeneratedText,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallBuffer,
    ToolCallDelta,
)
from .text import TextBuffer

if TYPE_CHECKING:
    from .constraints.reading import AnswerReader


def _cancelled() -> Finished:
    return Finished(finish_reason="cancelled")


class _Stream:
    """The state that both kinds of stream keep."""

    def __init__(
        self,
        cancellation: CancellationToken | None,
        cancelled: Callable[[], Finished] | None,
        reader: AnswerReader | None,
    ) -> None:
        self._cancellation = cancellation or CancellationToken()
        self._cancelled = cancelled or _cancelled
        self._reader = reader
        self._text = TextBuffer()
        self._reasoning = TextBuffer()
        self._logprobs: list[TokenLogprob] = []
        self._tool_calls = ToolCallBuffer()
        self._finished: Finished | None = None
        self._failed = False

    @property
    def text(self) -> str:
        """The answer so far."""
        return str(self._text)

    @property
    def partial(self) -> Any:
        """What a JSON answer says so far, as plain data: lists, dicts and strings grow; None while it says nothing.

        Numbers and words count once they are complete. Without a JSON ``response_format`` it is None.
        """
        return None if self._reader is None else self._reader.partial(self.text)

    @property
    def result(self) -> GeneratedText:
        """The finished text with its details.

        Raises GenerationError if the stream has not ended yet or has failed.
        """
        end = self._finished
        if end is None:
            if self._failed:
                raise GenerationError("The stream has failed, so there is no result.")
            raise GenerationError(
                "The stream has not ended yet, so there is no result. Read it to its end, or close it."
            )
        return GeneratedText(
            self.text,
            finish_reason=end.finish_reason,
            usage=end.usage,
            timings=end.timings,
            parameters=end.parameters,
            dropped=end.dropped,
            logprobs=tuple(self._logprobs),
            tool_calls=self._tool_calls.tool_calls,
            reasoning=str(self._reasoning),
            stop=end.stop,
            parsed=None if self._reader is None else self._reader.parsed,
        )

    def cancel(self) -> None:
        """Tell the engine to stop, from any thread. The reader gets the end of the stream once it has stopped."""
        self._cancellation.cancel()

    def _keep(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._text.write(event.text)
            if event.logprobs:
                self._logprobs.extend(event.logprobs)
        elif isinstance(event, ReasoningDelta):
            self._reasoning.write(event.text)
        elif isinstance(event, ToolCallDelta):
            self._tool_calls.add(event)
        else:
            self._finished = event

    def _left(self) -> None:
        if self._finished is None and not self._failed:
            self._finished = self._cancelled()


class TextStream(_Stream, Iterator[str]):
    """An answer as it is generated: an iterator of ``str`` whose joined pieces are exactly the whole answer.

    Leaving a ``with`` block early, :meth:`close`, or dropping the stream stops the engine::

        with backend.generate_stream("Hello") as stream:
            for piece in stream:
                print(piece, end="")
        print(stream.result.usage)

    One thread at a time may read it; any thread may call :meth:`close`.
    """

    def __init__(
        self,
        events: Iterator[Event],
        cancellation: CancellationToken | None = None,
        cancelled: Callable[[], Finished] | None = None,
        reader: AnswerReader | None = None,
    ) -> None:
        """Read *events*. *cancelled* makes the terminal event of a stream that its reader leaves early; *reader* reads
        the answer, if it has a format."""
        super().__init__(cancellation, cancelled, reader)
        self._events = events
        self._at_work = threading.RLock()

    def events(self) -> Iterator[Event]:
        """The events instead of the text alone; the last one is :class:`~llamaforge.results.Finished`."""
        while (event := self._step()) is not None:
            yield event

    def read(self) -> GeneratedText:
        """Read to the end; the finished text."""
        for _ in self.events():
            pass
        return self.result

    def close(self) -> None:
        """Stop the engine if it is still running; the finish reason is ``cancelled`` then.

        A thread that waits for the next piece gets the end of the stream once the engine has stopped.
        """
        self._cancellation.cancel()
        if not self._at_work.acquire(blocking=False):
            return
        try:
            if getattr(self._events, "gi_running", False):
                return
            close: Any = getattr(self._events, "close", None)
            if close is not None:
                close()
            self._left()
        finally:
            self._at_work.release()

    def __next__(self) -> str:
        while (event := self._step()) is not None:
            if isinstance(event, TextDelta) and event.text:
                return event.text
        raise StopIteration

    def _step(self) -> Event | None:
        """The next event; None at the end. Another thread that closes the stream meanwhile is waited for."""
        with self._at_work:
            if self._finished is not None:
                return None
            try:
                event = next(self._events, None)
            except BaseException:
                self._failed = True
                raise
            if event is not None:
                self._keep(event)
            return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncTextStream(_Stream, AsyncIterator[str]):
    """An answer as it is generated, for event loops: like :class:`TextStream`, with ``async with`` and ``async for``.

    Leaving it, :meth:`aclose`, or cancelling the task that reads it stops the engine.
    """

    def __init__(
        self,
        events: AsyncIterator[Event],
        cancellation: CancellationToken | None = None,
        cancelled: Callable[[], Finished] | None = None,
        reader: AnswerReader | None = None,
    ) -> None:
        """Read *events*. *cancelled* makes the terminal event of a stream that its reader leaves early; *reader* reads
        the answer, if it has a format."""
        super().__init__(cancellation, cancelled, reader)
        self._events = events

    async def events(self) -> AsyncIterator[Event]:
        """The events instead of the text alone; the last one is :class:`~llamaforge.results.Finished`."""
        while (event := await self._step()) is not None:
            yield event

    async def read(self) -> GeneratedText:
        """Read to the end; the finished text."""
        async for _ in self.events():
            pass
        return self.result

    async def aclose(self) -> None:
        """Stop the engine if it is still running; the finish reason is ``cancelled`` then."""
        self._cancellation.cancel()
        close: Any = getattr(self._events, "aclose", None)
        if close is not None and not getattr(self._events, "ag_running", False):
            await close()
        self._left()

    async def __anext__(self) -> str:
        while (event := await self._step()) is not None:
            if isinstance(event, TextDelta) and event.text:
                return event.text
        raise StopAsyncIteration

    async def _step(self) -> Event | None:
        """The next event; None at the end."""
        if self._finished is not None:
            return None
        try:
            event = await anext(self._events, None)
        except BaseException:
            self._failed = True
            self._cancellation.cancel()
            raise
        if event is not None:
            self._keep(event)
        return event

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
