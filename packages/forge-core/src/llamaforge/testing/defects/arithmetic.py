"""Defects of arithmetic: parameters that arrive, and mean something else."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace

from ...cancellation import CancellationToken
from ...requests import GenerationRequest
from ...results import Event, TokenLogprob
from ..fakes import ToyBackend
from ..fakes.sampling import Mask, ToySampler


class _Changes(ToyBackend):
    """Asks the engine for other values than it was asked for."""

    changed: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """The answer to another request."""
        values = {name: change(getattr(request, name)) for name, change in self.changed.items()}
        return super().stream(replace(request, **values), cancellation)


class RewardsPresence(_Changes):
    """Adds presence_penalty, and should subtract it."""

    changed: ClassVar = {"presence_penalty": lambda value: -(value or 0.0)}


class RewardsFrequency(_Changes):
    """Adds frequency_penalty, and should subtract it."""

    changed: ClassVar = {"frequency_penalty": lambda value: -(value or 0.0)}


class RoundsBiases(_Changes):
    """Makes whole numbers of biases."""

    changed: ClassVar = {
        "logit_bias": lambda bias: bias and {token: float(round(value)) for token, value in bias.items()}
    }


class TakesFewBiases(_Changes):
    """Passes on the first eight biases."""

    changed: ClassVar = {"logit_bias": lambda bias: bias and dict(list(bias.items())[:8])}


class HalvesPenalties(_Changes):
    """Takes half of each penalty."""

    changed: ClassVar = {
        "presence_penalty": lambda value: (value or 0.0) / 2,
        "frequency_penalty": lambda value: (value or 0.0) / 2,
    }


class SquaresTheTemperature(_Changes):
    """Divides by the temperature twice."""

    changed: ClassVar = {"temperature": lambda value: 1.0 if value is None else value * value}


class KeepsOneMore(_Changes):
    """Keeps one token more than top_k says."""

    changed: ClassVar = {"top_k": lambda value: value + 1 if value and value > 1 else value}


class FiltersByDefault(_Changes):
    """Keeps 5 tokens where nobody asked for a filter."""

    changed: ClassVar = {"top_k": lambda value: value or 5}


class WarmsByDefault(_Changes):
    """Takes 0.5 for "not set"."""

    changed: ClassVar = {"temperature": lambda value: 0.5 if value in (None, 1.0) else value}


class StopsAtTheVocabulary(_Changes):
    """Takes a top_k beyond the vocabulary for 1."""

    changed: ClassVar = {"top_k": lambda value: 1 if value and value > 10**5 else value}


class _Samples(ToyBackend):
    """Has a sampler of its own."""

    kind: type[ToySampler] = ToySampler

    def sampler(self, request: GenerationRequest, prompt: list[int]) -> ToySampler:
        """Of another kind."""
        return self.kind(request, prompt, self.language.size)


class CountsThePrompt(_Samples):
    """Counts the prompt's tokens for presence_penalty and frequency_penalty."""

    class kind(ToySampler):  # noqa: N801
        """Has seen the prompt."""

        def __init__(self, request: GenerationRequest, prompt: Sequence[int], size: int) -> None:
            super().__init__(request, prompt, size)
            self._counts = Counter(prompt)


class CountsOnce(_Samples):
    """Takes frequency_penalty for a second presence_penalty."""

    class kind(ToySampler):  # noqa: N801
        """Never counts beyond one."""

        def choose(self, logits: Sequence[float], allowed: Mask | None = None) -> int:
            """The next token."""
            chosen = super().choose(logits, allowed)
            self._counts[chosen] = 1
            return chosen


class SamplesAtZeroWithFilters(_Samples):
    """Samples at temperature 0 where top_k is set, too."""

    class kind(ToySampler):  # noqa: N801
        """Hot where it should be greedy."""

        @property
        def temperature(self) -> float:
            """Not 0 with a top_k."""
            given = super().temperature
            return 1.5 if given == 0 and (self._request.top_k or 0) > 1 else given


class FiltersBeforeTheTemperature(_Samples):
    """Applies top_p and min_p to the distribution before the temperature."""

    class kind(ToySampler):  # noqa: N801
        """Filters first."""

        def _draw(self, tokens: list[int], adjusted: Sequence[float]) -> int:
            request = self._request
            best = adjusted[tokens[0]]
            weights = [math.exp(adjusted[token] - best) for token in tokens]
            weights = weights[: request.top_k or len(weights)]
            total, reached = math.fsum(weights), 0.0
            kept: list[float] = []
            for weight in weights:
                if (kept and reached >= (request.top_p or 1.0) * total) or weight < (request.min_p or 0.0):
                    break
                reached += weight
                kept.append(weight ** (1 / max(self.temperature, 1e-6)))
            return self.random.choices(tokens[: len(kept)], kept)[0]


class _Reports(ToyBackend):
    """Reports other log-probabilities."""

    def report(self, entry: TokenLogprob, request: GenerationRequest) -> tuple[TokenLogprob, ...]:
        """What is said in place of *entry*."""
        raise NotImplementedError

    def _logprobs(self, token: int, logits: list[float], request: GenerationRequest) -> tuple[TokenLogprob, ...]:
        entries = super()._logprobs(token, logits, request)
        return self.report(entries[0], request) if entries else ()


class ReportsOtherLogarithms(_Reports):
    """Reports logarithms to the base of 2."""

    def report(self, entry: TokenLogprob, request: GenerationRequest) -> tuple[TokenLogprob, ...]:
        """All of them divided by the logarithm of 2."""

        def other(each: TokenLogprob) -> TokenLogprob:
            return TokenLogprob(each.token, each.logprob / math.log(2), each.token_id, tuple(map(other, each.top)))

        return (other(entry),)


class ReportsTheBestOne(_Reports):
    """Reports the best token's log-probability for whichever was chosen."""

    def report(self, entry: TokenLogprob, request: GenerationRequest) -> tuple[TokenLogprob, ...]:
        """The number of the first alternative."""
        best = entry.top[0].logprob if entry.top else entry.logprob
        return (TokenLogprob(entry.token, best, entry.token_id, entry.top),)


class ReportsGreedyTokensOnly(_Reports):
    """Reports nothing where the answer is sampled."""

    def report(self, entry: TokenLogprob, request: GenerationRequest) -> tuple[TokenLogprob, ...]:
        """Nothing above temperature 0."""
        return () if request.temperature else (entry,)


class ReportsFewer(_Reports):
    """Reports one alternative less than asked for."""

    def report(self, entry: TokenLogprob, request: GenerationRequest) -> tuple[TokenLogprob, ...]:
        """Without the last, where there are several."""
        top = entry.top[:-1] if len(entry.top) > 1 else entry.top
        return (TokenLogprob(entry.token, entry.logprob, entry.token_id, top),)
