"""Sound backends of unusual shapes: what real engines are like, and no check may take for a fault."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

from msgspec.structs import replace

from ...backends.base import BaseBackend
from ...backends.spec import Capabilities
from ...cancellation import CancellationToken
from ...errors import InvalidParameterError, QueueFullError
from ...requests import GenerationRequest
from ...results import Event, Finished, ReasoningDelta, Usage
from .backends import SPEC, ToyBackend, ToyConfig
from .language import ToyLanguage
from .queueing import WORKERS, Job, QueueingToyBackend

_DECLARED: Final = SPEC.capabilities.parameters


def _without(*names: str) -> Any:
    """Give a class the toy's spec without these parameters."""

    def decorate(backend: type[BaseBackend]) -> type[BaseBackend]:
        backend.spec = dataclasses.replace(
            SPEC,
            target=f"{backend.__module__}:{backend.__qualname__}",
            capabilities=Capabilities(parameters=_DECLARED - set(names)),
        )
        return backend

    return decorate


@_without("logprobs", "top_logprobs")
class WithoutLogprobs(ToyBackend):
    """Tells no log-probabilities."""


@_without(*(_DECLARED - {"max_tokens", "stop", "temperature"}))
class WithFewParameters(ToyBackend):
    """Honours three parameters."""


@_without(*_DECLARED)
class WithoutParameters(ToyBackend):
    """Honours none: its answers are greedy, and of the model's own length."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Always the best token."""
        return super().stream(replace(request, temperature=0.0), cancellation)


class WithoutSystemTurns(ToyBackend):
    """Has a template that refuses system turns."""

    def render_request(self, request: GenerationRequest) -> str:
        """As some models' templates do."""
        if any(message.role == "system" for message in request.messages):
            raise InvalidParameterError("messages", None, "without system turns, which this template refuses")
        return super().render_request(request)


class WithoutCounts(ToyBackend):
    """Its engine counts nothing."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Without usage."""
        for event in super().stream(request, cancellation):
            yield replace(event, usage=None) if isinstance(event, Finished) else event


class Reasoning(ToyBackend):
    """Thinks before it answers, if it may: text begins late, and of a short answer there is none."""

    thoughts: ClassVar[tuple[str, ...]] = ("Well, ", "the user ", "asks ", "me. ")

    def __init__(self) -> None:
        super().__init__()
        self._read: dict[int, tuple[list[int], int]] = {}
        """Prompts of requests whose max_tokens is less than what was asked, by id."""

    def prompt(self, request: GenerationRequest) -> tuple[list[int], int]:
        """As it was read for the thoughts."""
        return self._read.pop(id(request), None) or super().prompt(request)

    def steps(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[list[Event]]:
        """Thoughts count as tokens of the answer."""
        tokens, truncated = self.prompt(request)
        room = self.settings.n_ctx - len(tokens)
        limit = min(request.max_tokens or room, room)
        thoughts = () if request.reasoning_effort == "none" else self.thoughts[: request.max_reasoning_tokens]
        thoughts = thoughts[: max(0, limit)]
        spent = len(thoughts)
        rest = replace(request, max_tokens=max(1, limit - spent))
        self._read[id(rest)] = tokens, truncated
        answer = super().steps(rest, cancellation)
        begun = next(answer, [])  # what is wrong with the request is said before any thought
        for thought in thoughts:
            if cancellation.stopped:
                break
            yield [ReasoningDelta(thought)]
        if 0 < limit <= spent:
            counts = Usage(
                prompt_tokens=len(tokens),
                completion_tokens=spent,
                reasoning_tokens=spent,
                truncated_tokens=truncated,
            )
            yield [Finished(finish_reason="length", usage=counts)]
            return
        for events in itertools.chain([begun], answer):
            yield [self._counted(event, spent) for event in events]

    @staticmethod
    def _counted(event: Event, spent: int) -> Event:
        if not isinstance(event, Finished) or event.usage is None:
            return event
        usage = event.usage
        more = replace(usage, completion_tokens=usage.completion_tokens + spent, reasoning_tokens=spent)
        return replace(event, usage=more)


class WithASmallQueue(QueueingToyBackend):
    """Two at a time, four in the queue, and everybody else is refused."""

    max_queue = 4

    def enqueue(self, job: Job) -> None:
        """Where there is room."""
        if len(self._waiting) + len(self._at_work) >= WORKERS + self.max_queue:
            raise QueueFullError(len(self._waiting), self.max_queue)
        super().enqueue(job)


class TiedLanguage(ToyLanguage):
    """Has whole logits: often several tokens are equally probable."""

    def logits(self, fingerprint: bytes, answer: Sequence[int]) -> list[float]:
        """Rounded to two."""
        return [2.0 * round(logit / 2) for logit in super().logits(fingerprint, answer)]


class WithTies(ToyBackend):
    """Its best tokens are often tied."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """With that language."""
        super().load(model_path, config)
        self.language = TiedLanguage(config.length)
