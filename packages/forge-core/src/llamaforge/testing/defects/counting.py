"""Defects of usage, finish reasons and timings."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, Finished, TextDelta, Timings, Usage
from ..fakes import ToyBackend


class _RewritesTheEnd(ToyBackend):
    """Ends with other numbers."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """What it says at the end, after that many pieces of text."""
        raise NotImplementedError

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With another end."""
        pieces = 0
        for event in super().stream(request, cancellation):
            pieces += isinstance(event, TextDelta) and bool(event.text)
            yield self.rewrite(event, request, pieces) if isinstance(event, Finished) else event


def _usage(end: Finished) -> Usage:
    assert end.usage is not None  # noqa: S101 - the toy always counts
    return end.usage


class CountsPieces(_RewritesTheEnd):
    """Counts pieces of text and calls them tokens."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """Pieces for tokens."""
        return replace(end, usage=replace(_usage(end), completion_tokens=pieces))


class CountsTheEndToken(_RewritesTheEnd):
    """Counts one token too many."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """One more."""
        usage = _usage(end)
        return replace(end, usage=replace(usage, completion_tokens=usage.completion_tokens + 1))


class GeneratesOneTooMany(ToyBackend):
    """Takes max_tokens for the last index."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """One more than asked for."""
        return super().stream(
            replace(request, max_tokens=request.max_tokens + 1 if request.max_tokens else None), cancellation
        )


class SaysStopAtTheLimit(_RewritesTheEnd):
    """Has one reason for every end."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """Always stop."""
        return replace(end, finish_reason="stop")


class SaysLengthAlways(_RewritesTheEnd):
    """Guesses that an answer with a limit was cut."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """Length, where there was a limit."""
        return replace(end, finish_reason="length" if request.max_tokens else end.finish_reason)


class PassesOnForeignReasons(_RewritesTheEnd):
    """Passes on the engine's own word."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """A word that means nothing here."""
        return Finished(finish_reason="content_filter", usage=end.usage, stop=end.stop)


class CountsNoPrompt(_RewritesTheEnd):
    """Counts the prompt as nothing."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """0."""
        return replace(end, usage=replace(_usage(end), prompt_tokens=0))


class CountsTheLastWords(_RewritesTheEnd):
    """Counts as much of the prompt as its window shows."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """16 at most."""
        usage = _usage(end)
        return replace(end, usage=replace(usage, prompt_tokens=min(16, usage.prompt_tokens)))


class CountsWhatIsNew(_RewritesTheEnd):
    """Counts what its cache did not know."""

    def __init__(self) -> None:
        super().__init__()
        self._cache: set[str] = set()

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """1 for a prompt that it has seen."""
        shown = self.render_request(request)
        known = shown in self._cache
        self._cache.add(shown)
        return replace(end, usage=replace(_usage(end), prompt_tokens=1)) if known else end


class CountsNothing(_RewritesTheEnd):
    """Tells no usage of conversations."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """None where there are messages."""
        return replace(end, usage=None) if request.messages else end


class CountsTheText(_RewritesTheEnd):
    """Counts characters where a stop string ended the answer."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """Many more than there were."""
        return end if end.stop is None else replace(end, usage=replace(_usage(end), completion_tokens=1000))


class WaitedLessThanNothing(_RewritesTheEnd):
    """Subtracts times of two clocks."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """A negative wait."""
        return replace(end, timings=Timings(queued=-0.5))


class WaitedNoNumber(_RewritesTheEnd):
    """Divides nothing by nothing."""

    def rewrite(self, end: Finished, request: GenerationRequest, pieces: int) -> Finished:
        """NaN."""
        return replace(end, timings=Timings(queued=float("nan")))
