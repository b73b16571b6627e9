"""Defects of one path: what is honoured by ``generate``, and not where it is asked for in another way."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from ...backends.batch import BatchItem
from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, TextDelta
from ..fakes import AsyncToyBackend, ToyBackend


def _without(request: GenerationRequest, *names: str) -> GenerationRequest:
    values: dict[str, Any] = dict.fromkeys(names)
    if "stop" in values:
        values["stop"] = ()
    return replace(request, **values)


class _InLoops(ToyBackend):
    """Has an asynchronous path of its own, where some parameters are lost."""

    lost: tuple[str, ...] = ()

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """The answer to less than was asked for."""
        async for event in AsyncToyBackend.astream(self, _without(request, *self.lost), cancellation):  # type: ignore[arg-type]
            yield event


class SendsOnePieceInLoops(ToyBackend):
    """Waits for the whole answer in event loops."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """One piece and the end."""
        events = [event async for event in AsyncToyBackend.astream(self, request, cancellation)]  # type: ignore[arg-type]
        text = "".join(event.text for event in events if isinstance(event, TextDelta))
        logprobs = tuple(entry for event in events if isinstance(event, TextDelta) for entry in event.logprobs)
        for event in (TextDelta(text, logprobs), events[-1]):
            yield event


class DeafInLoops(ToyBackend):
    """Looks at no deadline in event loops, until the answer is complete."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """The whole answer, computed before the first piece goes out."""
        events = [event for events in self.steps(request, CancellationToken()) for event in events]
        for _ in events:  # nothing interrupts this wait
            time.sleep(self.settings.delay * 2)  # noqa: ASYNC251 - that is the defect
        for event in events:
            yield event


class ReadsInTheLoop(ToyBackend):
    """Reads prompts in the event loop."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """As slowly as they are long."""
        time.sleep(len(self.render_request(request)) * self.settings.delay / 64)  # noqa: ASYNC251 - that is the defect
        async for event in AsyncToyBackend.astream(self, request, cancellation):  # type: ignore[arg-type]
            yield event


class StartsAThreadForEachCall(ToyBackend):
    """Has a thread for each asynchronous call, which stays."""

    async def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """Beside the answer."""
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        async for event in AsyncToyBackend.astream(self, request, cancellation):  # type: ignore[arg-type]
            yield event


class LosesStopsInLoops(_InLoops):
    """Looks for no stop strings in event loops."""

    lost = ("stop",)


class LosesSeedsInLoops(_InLoops):
    """Has seeds of its own in event loops."""

    lost = ("seed",)


class LosesLogprobsInLoops(_InLoops):
    """Reports no log-probabilities in event loops."""

    lost = ("logprobs",)


class LosesSchemasInLoops(_InLoops):
    """Ignores schemas and grammars in event loops."""

    lost = ("response_format", "grammar")


class LosesPenaltiesInLoops(_InLoops):
    """Ignores penalties in event loops."""

    lost = ("presence_penalty", "frequency_penalty", "repetition_penalty")


class _InChats(ToyBackend):
    """Loses some parameters where there are messages."""

    lost: tuple[str, ...] = ()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The answer to less than was asked for."""
        return super().stream(_without(request, *self.lost) if request.messages else request, cancellation)


class LosesStopsInChats(_InChats):
    """Looks for no stop strings in conversations."""

    lost = ("stop",)


class LosesTemperaturesInChats(_InChats):
    """Takes the temperature for 1 in conversations."""

    lost = ("temperature",)


class LosesBiasesInChats(_InChats):
    """Ignores biases in conversations."""

    lost = ("logit_bias",)


class LosesSchemasInChats(_InChats):
    """Ignores schemas in conversations."""

    lost = ("response_format",)


class _InRaw(ToyBackend):
    """Loses some parameters of raw prompts."""

    lost: tuple[str, ...] = ()

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The answer to less than was asked for."""
        return super().stream(_without(request, *self.lost) if request.raw else request, cancellation)


class LosesStopsInRawPrompts(_InRaw):
    """Looks for no stop strings after a raw prompt."""

    lost = ("stop",)


class LosesPenaltiesInRawPrompts(_InRaw):
    """Ignores penalties after a raw prompt."""

    lost = ("presence_penalty", "repetition_penalty", "frequency_penalty")


class StripsRawPrompts(ToyBackend):
    """Strips white space off raw prompts."""

    def render_request(self, request: GenerationRequest) -> str:
        """The stripped text."""
        text = super().render_request(request)
        return text.strip() + "\n" if request.raw else text


class ShowsAnotherPrompt(ToyBackend):
    """Renders another text than the engine sees."""

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """With a word more."""
        tokens, truncated = super().prompt(request)
        return ([*self.tokenize(" fog"), *tokens] if not request.raw else tokens), truncated


class BatchesBackwards(ToyBackend):
    """Answers a batch from its end."""

    def generate_batch(self, prompts: Iterable[Any], parameters: Any = None, **more: Any) -> Iterator[BatchItem]:
        """The items of the reversed prompts, under the right numbers."""
        given = list(prompts)
        items = super().generate_batch(reversed(given), parameters, **more)
        return iter(
            sorted((BatchItem(len(given) - 1 - item.index, item.answer, item.error) for item in items), key=_index)[
                ::-1
            ]
        )


class BatchesEagerly(ToyBackend):
    """Takes all prompts of a batch, up to a thousand, before it answers one."""

    def generate_batch(self, prompts: Iterable[Any], parameters: Any = None, **more: Any) -> Iterator[BatchItem]:
        """The answers to a list."""
        taken = [prompt for _, prompt in zip(range(1000), prompts, strict=False)]
        return super().generate_batch(taken, parameters, **more)


class BatchesFailTogether(ToyBackend):
    """Ends a batch with the first prompt that fails."""

    def generate_batch(self, prompts: Iterable[Any], parameters: Any = None, **more: Any) -> Iterator[BatchItem]:
        """Raises the item's error."""
        for item in super().generate_batch(prompts, parameters, **more):
            if item.error is not None:
                raise item.error
            yield item


class BatchesForgetParameters(ToyBackend):
    """Passes a batch's max_tokens on, and nothing else."""

    def generate_batch(
        self, prompts: Iterable[Any], parameters: Mapping[str, Any] | None = None, **more: Any
    ) -> Iterator[BatchItem]:
        """The answers to less than was asked for."""
        kept = {name: value for name, value in (parameters or {}).items() if name in ("max_tokens", "temperature")}
        return super().generate_batch(prompts, kept, **more)


def _index(item: BatchItem) -> int:
    return item.index
