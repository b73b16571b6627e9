"""Faults of models that think before they answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, ReasoningDelta, TextDelta
from ..fakes.shapes import Reasoning


class LeavesThoughtsInTheText(Reasoning):
    """Passes thoughts on as the engine writes them."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With markers, as text."""
        for event in super().stream(request, cancellation):
            yield TextDelta(f"<think>{event.text}</think>") if isinstance(event, ReasoningDelta) else event


class ThinksInThreadsOnly(Reasoning):
    """Loses what was thought in event loops."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """Without it."""
        for event in self.stream(request, cancellation):
            if not isinstance(event, ReasoningDelta):
                yield event


class TellsThoughtsAtTheEnd(Reasoning):
    """Collects what is thought while the text passes by."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The thoughts before the last event."""
        kept: list[Event] = []
        *events, last = super().stream(request, cancellation)
        for event in events:
            if isinstance(event, ReasoningDelta):
                kept.append(event)
            else:
                yield event
        yield from kept
        yield last


class ThinksAsLongAsItLikes(Reasoning):
    """Takes max_reasoning_tokens and forgets it."""

    thoughts = tuple(f"thought {number}, " for number in range(20))

    def steps(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """Without the limit."""
        return super().steps(replace(request, max_reasoning_tokens=None), cancellation)


class AlwaysThinks(Reasoning):
    """Takes reasoning_effort="none" and thinks."""

    def steps(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """With the usual effort."""
        return super().steps(replace(request, reasoning_effort=None), cancellation)


class ThinksFormatsAway(Reasoning):
    """Has no format for the answer after thoughts."""

    def steps(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """Without it."""
        return super().steps(replace(request, response_format=None), cancellation)


class KnowsNoThoughtsOfOthers(Reasoning):
    """Reads messages field by field, and stumbles over what it doesn't know."""

    def render_request(self, request: GenerationRequest) -> str:
        """With an error of its own."""
        if any(message.reasoning_content for message in request.messages):
            raise TypeError("unexpected field reasoning_content")
        return super().render_request(request)
