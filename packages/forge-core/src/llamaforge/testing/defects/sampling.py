"""Defects of sampling and log-probabilities: parameters that are declared and don't arrive."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, TextDelta
from ..fakes import ToyBackend
from ..fakes.sampling import ToySampler


class _Rewrites(ToyBackend):
    """Asks the engine for something else than it was asked for."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """What the engine is asked for."""
        raise NotImplementedError

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The answer to another request."""
        return super().stream(self.rewrite(request), cancellation)


class IgnoresTemperature(_Rewrites):
    """Is always greedy."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Always 0."""
        return replace(request, temperature=0.0)


class SamplesAtZero(_Rewrites):
    """Takes temperature 0 for "not set", and draws."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """1 in place of 0."""
        return replace(request, temperature=request.temperature or 1.0, seed=random.getrandbits(32))


class KnowsOneTemperature(_Rewrites):
    """Samples, but always at temperature 1."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """1 in place of anything above 0."""
        return replace(request, temperature=1.0 if request.temperature else 0.0)


class IgnoresTopK(_Rewrites):
    """Declares top_k and doesn't pass it on."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without it."""
        return replace(request, top_k=None)


class IgnoresTopP(_Rewrites):
    """Declares top_p and doesn't pass it on."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without it."""
        return replace(request, top_p=None)


class IgnoresMinP(_Rewrites):
    """Declares min_p and doesn't pass it on."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without it."""
        return replace(request, min_p=None)


class IgnoresSeeds(_Rewrites):
    """Draws a seed of its own."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """A new one each time."""
        return replace(request, seed=random.getrandbits(32))


class HasOneSeed(_Rewrites):
    """Uses the same seed always."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Always 42."""
        return replace(request, seed=42)


class SharesItsRandomness(ToyBackend):
    """Has one random generator for all requests, seeded anew by each."""

    def __init__(self) -> None:
        super().__init__()
        self._shared = random.Random()  # noqa: S311 - sampling, not cryptography

    def sampler(self, request: GenerationRequest, prompt: list[int]) -> ToySampler:
        """With the generator that all share."""
        made = super().sampler(request, prompt)
        self._shared.seed(request.seed)
        made.random = self._shared
        return made


class IgnoresPresence(_Rewrites):
    """Declares presence_penalty and doesn't pass it on."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without it."""
        return replace(request, presence_penalty=None)


class IgnoresFrequency(_Rewrites):
    """Declares frequency_penalty and doesn't pass it on."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without it."""
        return replace(request, frequency_penalty=None)


class IgnoresRepetition(_Rewrites):
    """Declares repetition_penalty and doesn't pass it on."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without it."""
        return replace(request, repetition_penalty=None)


class IgnoresBias(_Rewrites):
    """Declares logit_bias and doesn't pass it on."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without it."""
        return replace(request, logit_bias=None)


class ForgetsBans(_Rewrites):
    """Passes on biases above 0 alone."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without the negative ones."""
        kept = {token: bias for token, bias in (request.logit_bias or {}).items() if bias > 0}
        return replace(request, logit_bias=kept)


class IgnoresTheSchema(_Rewrites):
    """Declares response_format and doesn't pass it on."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without it."""
        return replace(request, response_format=None)


class IgnoresTheGrammar(_Rewrites):
    """Declares grammar and doesn't pass it on."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without it."""
        return replace(request, grammar=None)


class IgnoresTools(_Rewrites):
    """Declares tools and doesn't pass them on."""

    def rewrite(self, request: GenerationRequest) -> GenerationRequest:
        """Without them."""
        return replace(request, tools=None, tool_choice=None)


class _RewritesLogprobs(ToyBackend):
    """Reports something else than log-probabilities."""

    def rewrite(self, event: TextDelta) -> TextDelta:
        """What is reported."""
        raise NotImplementedError

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With other numbers."""
        for event in super().stream(request, cancellation):
            yield self.rewrite(event) if isinstance(event, TextDelta) else event


class LosesLogprobs(_RewritesLogprobs):
    """Reports nothing for tokens without text of their own."""

    def rewrite(self, event: TextDelta) -> TextDelta:
        """Without them."""
        return event if event.text else replace(event, logprobs=())


class ReportsProbabilities(_RewritesLogprobs):
    """Forgets the logarithm."""

    def rewrite(self, event: TextDelta) -> TextDelta:
        """Probabilities."""
        return replace(event, logprobs=tuple(replace(one, logprob=math.exp(one.logprob)) for one in event.logprobs))


class SortsTheWrongWay(_RewritesLogprobs):
    """Has the least probable alternative first."""

    def rewrite(self, event: TextDelta) -> TextDelta:
        """Turned around."""
        return replace(event, logprobs=tuple(replace(one, top=one.top[::-1]) for one in event.logprobs))


class ReportsTheNextPosition(ToyBackend):
    """Reports with each token the numbers of the position before it."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """One behind."""
        before: Any = ()
        for event in super().stream(request, cancellation):
            if isinstance(event, TextDelta):
                late, before = before, event.logprobs
                yield replace(event, logprobs=late or before)
            else:
                yield event


class ReportsAlways(ToyBackend):
    """Reports log-probabilities that nobody asked for."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Always with them."""
        return super().stream(replace(request, logprobs=True), cancellation)


class ChangesWhenWatched(ToyBackend):
    """Takes another path through the engine for log-probabilities, where the temperature is 1."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Another answer with them."""
        return super().stream(replace(request, temperature=1.0, seed=5) if request.logprobs else request, cancellation)
