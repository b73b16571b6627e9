"""Defects of the text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...errors import ContextOverflowError
from ...requests import GenerationRequest
from ...results import Event, Finished, GeneratedText, TextDelta, Usage
from ..fakes import BasicToyBackend, ToyBackend


def is_text(event: Event) -> bool:
    """Whether *event* is a piece of the answer."""
    return isinstance(event, TextDelta)


class LeaksStopStrings(ToyBackend):
    """Sends each token at once, and looks for stop strings afterwards."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Stop when the text has a stop string."""
        text = ""
        for event in super().stream(replace(request, stop=()), cancellation):
            if isinstance(event, TextDelta):
                text += event.text
                yield event
                met = next((stop for stop in request.stop or () if stop in text), None)
                if met is not None:
                    yield Finished(
                        finish_reason="stop", stop=met, usage=Usage(prompt_tokens=1, completion_tokens=len(text))
                    )
                    return
            else:
                yield event


class FindsStopsInsideTokens(ToyBackend):
    """Looks for stop strings in each token alone."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Stop where one token has a whole stop string."""
        for event in super().stream(replace(request, stop=()), cancellation):
            if isinstance(event, TextDelta):
                met = next((stop for stop in request.stop or () if stop in event.text), None)
                if met is not None:
                    before = event.text.partition(met)[0]
                    yield TextDelta(before)
                    yield Finished(finish_reason="stop", stop=met, usage=Usage(prompt_tokens=1, completion_tokens=1))
                    return
            yield event


class HearsTheFirstStopOnly(ToyBackend):
    """Of several stop strings, looks for the first in the list."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With one stop string."""
        return super().stream(replace(request, stop=(request.stop or ())[:1]), cancellation)


class NamesAnyStop(ToyBackend):
    """Says that the first stop string in the list was met, whichever it was."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With the wrong name."""
        for event in super().stream(request, cancellation):
            if isinstance(event, Finished) and event.stop is not None:
                yield replace(event, stop=(request.stop or ("",))[0])
            else:
                yield event


class IteratesOverAStopString(ToyBackend):
    """Takes each character of a stop string for one of its own."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With the characters."""
        return super().stream(replace(request, stop=tuple("".join(request.stop or ()))), cancellation)


class LosesWhatWasHeldBack(ToyBackend):
    """Forgets what is held back at the end because it might have begun a stop string."""

    def steps(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """Without the tail."""
        for events in super().steps(request, cancellation):
            if events and isinstance(events[-1], Finished) and request.stop:
                yield [event for event in events if not is_text(event)]
            else:
                yield events


class SplitsCharacters(ToyBackend):
    """Decodes each token by itself."""

    def steps(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """With the bytes of each token decoded at once."""
        for events in super().steps(replace(request, logprobs=True, top_logprobs=None), cancellation):
            said = [event for event in events if not is_text(event)]
            tokens = [each for event in events if isinstance(event, TextDelta) for each in event.logprobs]
            # The toy shows a token as its bytes decoded alone: just what this backend is about.
            yield [*(TextDelta(token.token) for token in tokens), *said]


class LosesTheLastToken(ToyBackend):
    """Its loop ends one token early, though all were computed."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Always one piece behind, and the last one never."""
        held: Event | None = None
        for event in super().stream(request, cancellation):
            if not is_text(event):
                yield event
                continue
            if held is not None:
                yield held
            held = event


class LosesTheTokenBeforeTheEnd(ToyBackend):
    """What ends an answer takes the token before it along."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """One piece behind; the last one only where the limit was reached."""
        held: Event | None = None
        for event in super().stream(request, cancellation):
            if is_text(event):
                if held is not None:
                    yield held
                held = event
                continue
            if held is not None and isinstance(event, Finished) and event.finish_reason == "length":
                yield held
            yield event


class SendsOnePiece(ToyBackend):
    """Makes a stream of the finished text."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """All text at the end."""
        events = list(super().stream(request, cancellation))
        said = [event for event in events if isinstance(event, TextDelta)]
        yield TextDelta("".join(event.text for event in said), tuple(one for event in said for one in event.logprobs))
        yield from (event for event in events if not is_text(event))


class SendsTwoEnds(ToyBackend):
    """Sends the terminal event once for the text and once for the usage."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The last event twice."""
        for event in super().stream(request, cancellation):
            yield event
            if isinstance(event, Finished):
                yield event


class SendsNoEnd(ToyBackend):
    """Just stops."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Without the terminal event."""
        return (event for event in super().stream(request, cancellation) if not isinstance(event, Finished))


class StripsTheWhole(ToyBackend):
    """Strips the answer in ``generate``, and not in the stream."""

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> GeneratedText:
        """Stripped."""
        answer = super().generate(prompt, parameters, **more)
        return GeneratedText(answer.strip(), **vars(answer))


class DropsThePlainText(ToyBackend):
    """Returns a plain string from ``generate``."""

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """A string, and no more."""
        return str(super().generate(prompt, parameters, **more))


class AnswersOtherwiseInLoops(ToyBackend):
    """Has ``stream`` and ``astream``, and they have drifted apart."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """In capital letters."""
        for event in super().stream(request, cancellation):
            yield replace(event, text=event.text.upper()) if isinstance(event, TextDelta) else event


class SwallowsErrors(ToyBackend):
    """Makes an empty answer of an error."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Nothing, where the engine failed."""
        try:
            yield from super().stream(request, cancellation)
        except ContextOverflowError:
            yield Finished(finish_reason="stop", usage=Usage(prompt_tokens=0, completion_tokens=0))


class CutsThePrompt(ToyBackend):
    """Cuts a prompt that is too long, and answers what is left of it."""

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """The last tokens that fit."""
        return super().tokenize(text, special)[-(self.settings.n_ctx - 16) :]


class OverflowsWithoutCounts(ToyBackend):
    """Says that the prompt is too long, and not by how much."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With None for both counts."""
        try:
            yield from super().stream(request, cancellation)
        except ContextOverflowError:
            raise ContextOverflowError(None, None) from None


class BasicWaysDisagree(BasicToyBackend):
    """A basic backend whose ``generate`` strips what its stream doesn't."""

    def generate(self, prompt: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """Stripped."""
        return super().generate(prompt, parameters).strip()
