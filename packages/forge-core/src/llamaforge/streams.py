"""From an engine's events to what callers hold: a checked stream, and the text that it adds up to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import msgspec

from .errors import ContractError, GenerationError, GenerationTimeoutError, LlamaForgeError
from .messages import ToolCall
from .requests import GenerationRequest
from .results import (
    Event,
    Finished,
    GeneratedText,
    ReasoningDelta,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCallDelta,
)


class TextStream(Iterator[str]):
    """The answer as it comes: an iterator of ``str`` whose pieces, joined, are exactly the whole answer.

    Leaving a ``with`` block early, :meth:`close`, or dropping the stream stops the engine::

        with backend.generate_stream("Hello") as stream:
            for piece in stream:
                print(piece, end="")
        print(stream.result.usage)

    One thread at a time may read it. *cancelled* is the terminal event of a stream that its reader leaves early.
    """

    def __init__(self, events: Iterator[Event], cancelled: Finished | None = None) -> None:
        self._events = events
        self._cancelled = cancelled or Finished(finish_reason="cancelled")
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._tool_calls: list[ToolCall] = []
        self._finished: Finished | None = None
        self._failed = False

    def events(self) -> Iterator[Event]:
        """The events instead of the text alone; the last one is :class:`~llamaforge.results.Finished`."""
        while self._finished is None:
            try:
                event = next(self._events)
            except StopIteration:
                return
            except BaseException:
                self._failed = True
                raise
            self._keep(event)
            yield event

    def __next__(self) -> str:
        for event in self.events():
            if isinstance(event, TextDelta) and event.text:
                return event.text
        raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the engine, if it is still at work. The result then says ``cancelled``."""
        close = getattr(self._events, "close", None)
        if close is not None:
            close()
        if self._finished is None and not self._failed:
            self._finished = self._cancelled

    @property
    def text(self) -> str:
        """What has come so far."""
        return "".join(self._text)

    @property
    def result(self) -> GeneratedText:
        """The finished text with all that is known of it.

        Raises GenerationError while the stream is not at its end, or where it failed.
        """
        end = self._finished
        if end is None:
            state = "failed" if self._failed else "is not at its end"
            raise GenerationError(f"The stream {state}: there is no result. Read it to its end, or close it.")
        return GeneratedText(
            self.text,
            finish_reason=end.finish_reason,
            usage=end.usage,
            timings=end.timings,
            parameters=end.parameters,
            dropped=end.dropped,
            logprobs=tuple(self._logprobs),
            tool_calls=tuple(self._tool_calls),
            reasoning="".join(self._reasoning),
            stop=end.stop,
        )

    def read(self) -> GeneratedText:
        """Read to the end; the finished text."""
        for _ in self.events():
            pass
        return self.result

    def _keep(self, event: Event) -> None:
        if isinstance(event, TextDelta):
            self._text.append(event.text)
            self._logprobs.extend(event.logprobs)
        elif isinstance(event, ReasoningDelta):
            self._reasoning.append(event.text)
        elif isinstance(event, ToolCallDelta):
            self._tool_calls.append(event.call)
        else:
            self._finished = event


def checked_events(
    source: Iterator[Event],
    *,
    backend: str,
    request: GenerationRequest,
    dropped: tuple[str, ...],
    started: float,
) -> Iterator[Event]:
    """Hold an engine's events to the contract, and complete the terminal one.

    *started* is the caller's ``time.perf_counter()``. Raises GenerationTimeoutError once the deadline has passed,
    ContractError where the engine breaks the contract, and GenerationError for what it raised unmapped.
    """
    deadline = None if request.timeout is None else started + request.timeout
    first: float | None = None
    text: list[str] = []
    events = iter(source)
    try:
        while True:
            try:
                event = next(events, None)
            except LlamaForgeError:
                raise
            except (Exception, SystemExit) as error:
                raise GenerationError(f"The backend {backend!r} failed: {type(error).__name__}: {error}") from error
            now = time.perf_counter()
            if deadline is not None and now > deadline:
                raise GenerationTimeoutError(request.timeout or 0.0, "".join(text))
            if isinstance(event, Finished):
                break
            if event is None:
                raise ContractError(backend, "its stream ended without a terminal event")
            if not isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta):
                raise ContractError(backend, f"its stream yielded {type(event).__name__}, which is no event")
            if first is None:
                first = now - started
            if deadline is not None and isinstance(event, TextDelta):
                text.append(event.text)
            yield event
        if next(events, None) is not None:
            raise ContractError(backend, "its stream went on after the terminal event")
    finally:
        close: Any = getattr(events, "close", None)
        if close is not None:
            close()
    queued = event.timings.queued if event.timings else None
    yield msgspec.structs.replace(
        event,
        timings=Timings(first_token=first, total=time.perf_counter() - started, queued=queued),
        parameters=event.parameters or request.parameters(),
        dropped=dropped,
    )
