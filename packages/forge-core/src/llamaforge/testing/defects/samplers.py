"""Defects of sampling that show neither at its extremes nor on the first path."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, Final

from ...requests import GenerationRequest
from ..fakes.sampling import Mask, ToySampler
from .entry import Defect
from .planting import in_chats, in_crowds, in_loops, in_raw_prompts, in_streams, plant, when_cold, when_sampled


class _Filters(ToySampler):
    """Draws with filters of its own."""

    def _draw(self, tokens: list[int], adjusted: Sequence[float]) -> int:
        request, best = self._request, adjusted[tokens[0]]
        weights = self.weights([adjusted[token] - best for token in tokens])
        weights = weights[: request.top_k or len(weights)]
        total, reached, kept = math.fsum(weights), 0.0, 0
        for weight in weights:
            if not self.keeps(weight, reached / total, weights, request):
                break
            kept, reached = kept + 1, reached + weight
        return self.random.choices(tokens[: max(1, kept)], weights[: max(1, kept)])[0]

    def weights(self, logits: list[float]) -> list[float]:
        return [math.exp(logit / max(self.temperature, 1e-6)) for logit in logits]

    def keeps(self, weight: float, before: float, weights: list[float], request: GenerationRequest) -> bool:
        return before < (request.top_p or 1.0) and weight >= (request.min_p or 0.0)


class _TopPKeepsFewer(_Filters):
    def keeps(self, weight: float, before: float, weights: list[float], request: GenerationRequest) -> bool:
        share = weight / math.fsum(weights)
        return before == 0 or before + share <= (request.top_p or 1.0) + 1e-9


class _TopPKeepsMore(_Filters):
    def keeps(self, weight: float, before: float, weights: list[float], request: GenerationRequest) -> bool:
        share = weight / math.fsum(weights)
        return request.top_p is None or (request.top_p < 0.01 and before == 0) or before - 4 * share < request.top_p


class _MinPOfAll(_Filters):
    def keeps(self, weight: float, before: float, weights: list[float], request: GenerationRequest) -> bool:
        least = request.min_p or 0.0
        return before < (request.top_p or 1.0) and (before == 0 or weight / math.fsum(weights) >= least)


class _TopPOfAtLeastAHalf(_Filters):
    def keeps(self, weight: float, before: float, weights: list[float], request: GenerationRequest) -> bool:
        top_p = request.top_p or 1.0
        return before < (top_p if top_p < 0.01 else max(top_p, 0.75)) and weight >= (request.min_p or 0.0)


class _TemperatureLast(ToySampler):
    """Filters at temperature 1, and then divides by the temperature."""

    def _draw(self, tokens: list[int], adjusted: Sequence[float]) -> int:
        request, best = self._request, adjusted[tokens[0]]
        weights = [math.exp(adjusted[token] - best) for token in tokens][: request.top_k or None]
        total, reached, kept = math.fsum(weights), 0.0, 0
        for weight in weights:
            if kept and (reached >= (request.top_p or 1.0) * total or weight < (request.min_p or 0.0)):
                break
            kept, reached = kept + 1, reached + weight
        hot = [weight ** (1 / max(self.temperature, 1e-6)) for weight in weights[:kept]]
        return self.random.choices(tokens[:kept], hot)[0]


class _Lukewarm(_Filters):
    def weights(self, logits: list[float]) -> list[float]:
        return [math.exp(logit / min(max(self.temperature, 1e-6), 1.5)) for logit in logits]


class _NeverCold(_Filters):
    def weights(self, logits: list[float]) -> list[float]:
        return [math.exp(logit / max(self.temperature, 0.8)) for logit in logits]


class _Pulls(ToySampler):
    """Adjusts logits in a way of its own."""

    def pull(self, token: int, logit: float) -> float:
        raise NotImplementedError

    def _adjust(self, token: int, logit: float) -> float:
        return self.pull(token, logit)


class _RepeatsInTheAnswer(ToySampler):
    def __init__(self, request: GenerationRequest, prompt: Sequence[int], size: int) -> None:
        super().__init__(request, (), size)


class _RepeatsInThePrompt(ToySampler):
    def choose(self, logits: Sequence[float], allowed: Mask | None = None) -> int:
        seen = set(self._seen)
        chosen = super().choose(logits, allowed)
        self._seen = seen
        return chosen


class _RepeatsEachTime(_Pulls):
    def pull(self, token: int, logit: float) -> float:
        penalty, logit = self._request.repetition_penalty or 1.0, ToySampler._adjust(self, token, logit)
        for _ in range(self._counts[token] - 1):
            logit = logit / penalty if logit > 0 else logit * penalty
        return logit


class _BiasesAfterTheTemperature(_Pulls):
    def pull(self, token: int, logit: float) -> float:
        extra = self._bias.get(token, 0.0) * (max(self.temperature, 1e-6) - 1 if self.temperature else 0)
        return ToySampler._adjust(self, token, logit) + extra


class _PenaltiesAfterTheTemperature(_Pulls):
    def pull(self, token: int, logit: float) -> float:
        plain = logit + self._bias.get(token, 0.0)
        pulled = ToySampler._adjust(self, token, logit)
        return plain + (pulled - plain) * (self.temperature or 1.0)


class _Window(ToySampler):
    """Counts the last four tokens alone."""

    def __init__(self, request: GenerationRequest, prompt: Sequence[int], size: int) -> None:
        super().__init__(request, prompt, size)
        self._last: list[int] = []

    def choose(self, logits: Sequence[float], allowed: Mask | None = None) -> int:
        chosen = super().choose(logits, allowed)
        self._last = [*self._last, chosen][-4:]
        self._counts.clear()
        self._counts.update(self._last)
        return chosen


class _CountsFromTheSecond(ToySampler):
    """Doesn't count the first token of the answer."""

    def choose(self, logits: Sequence[float], allowed: Mask | None = None) -> int:
        first = not self._counts and not hasattr(self, "begun")
        chosen = super().choose(logits, allowed)
        if first:
            self.begun: Any = True
            self._counts.clear()
        return chosen


def _clip(most: float) -> Any:
    return lambda request: _with_bias(request, {t: max(-most, min(most, v)) for t, v in _bias(request).items()})


def _bias(request: GenerationRequest) -> dict[int, float]:
    return dict(request.logit_bias or {})


def _with_bias(request: GenerationRequest, bias: dict[int, float]) -> GenerationRequest:
    from msgspec.structs import replace

    return replace(request, logit_bias=bias or None)


def _change(**changes: Any) -> Any:
    """A request with values that are made of its own."""
    from msgspec.structs import replace

    return lambda request: replace(
        request, **{name: change(getattr(request, name)) for name, change in changes.items()}
    )


OFTEN: Final = "test_tokens_are_drawn_as_often_as_they_should_be"
ALLOWED: Final = "test_sampled_tokens_are_allowed_ones"
GREEDILY: Final = "test_greedy_answers_follow_the_arithmetic"
REPEATING: Final = "test_penalties_end_a_repetition_when_they_should"
OFF: Final = "test_what_is_off_filters_nothing"
UNSET: Final = "test_unset_parameters_filter_nothing"
REPETITION: Final = "test_repetition_penalty_counts_prompt_and_answer"
HELD: Final = "test_penalties_hold_when_sampled"
FRACTION: Final = "test_a_fraction_of_a_bias_decides_a_close_choice"
RANGE: Final = "test_biases_have_their_full_range"
BITS: Final = "test_every_bit_of_a_seed_counts"
UNSEEDED: Final = "test_unset_seeds_differ"
NEUTRAL: Final = "test_what_is_not_set_is_neutral_on_every_path"
CAP: Final = "test_answers_have_no_limit_of_their_own"
COLD_PROMPT: Final = "test_a_prompt_never_read_before_means_the_same"
CROWD: Final = "test_a_crowd_on_all_paths_means_the_same"
LONG: Final = {"length": 400}


class _NeverAgain(ToySampler):
    """Says nothing four times in a row."""

    def choose(self, logits: Sequence[float], allowed: Mask | None = None) -> int:
        said = self.__dict__.setdefault("said", [])
        if len(said) > 2 and len(set(said[-3:])) == 1 and not self._bias:
            logits = [-1e9 if token == said[-1] else logit for token, logit in enumerate(logits)]
        said.append(super().choose(logits, allowed))
        return int(said[-1])


DEFECTS: Final[tuple[Defect, ...]] = (
    plant("top_p leaves out the token that reaches it", OFTEN, kind=_TopPKeepsFewer),
    plant("top_p keeps a few too many", ALLOWED, kind=_TopPKeepsMore),
    plant("top_p is never below 0.75", ALLOWED, kind=_TopPOfAtLeastAHalf),
    plant("min_p is a share of all", OFTEN, kind=_MinPOfAll),
    plant("the temperature comes last", OFTEN, kind=_TemperatureLast),
    plant("the temperature is at most 1.5", OFTEN, kind=_Lukewarm),
    plant("the temperature is at least 0.8", OFTEN, kind=_NeverCold),
    plant(
        "top_k is at most 10",
        "test_a_filter_wider_than_the_vocabulary_is_none",
        change=_change(top_k=lambda k: min(k, 10) if k else k),
    ),
    plant("top_k counts from 0", OFTEN, change=_change(top_k=lambda k: k - 1 if k and k > 1 else k)),
    plant("repetition counts the answer alone", REPETITION, kind=_RepeatsInTheAnswer),
    plant("repetition counts the prompt alone", REPETITION, kind=_RepeatsInThePrompt),
    plant("repetition counts each time", REPETITION, kind=_RepeatsEachTime),
    plant("repetition is the other way round", REPETITION, change=_change(repetition_penalty=lambda p: p and 1 / p)),
    plant("repetition below 1 is off", REPETITION, change=_change(repetition_penalty=lambda p: p and max(p, 1.0))),
    plant("biases after the temperature", HELD, kind=_BiasesAfterTheTemperature),
    plant("penalties after the temperature", HELD, kind=_PenaltiesAfterTheTemperature),
    plant("penalties of the last four tokens", REPEATING, kind=_Window),
    plant("penalties from the second token on", REPEATING, kind=_CountsFromTheSecond),
    plant(
        "rewards are off",
        REPEATING,
        change=_change(presence_penalty=lambda p: max(p or 0, 0), frequency_penalty=lambda p: max(p or 0, 0)),
    ),
    plant(
        "penalties are whole numbers",
        REPEATING,
        change=_change(presence_penalty=lambda p: round(p or 0), frequency_penalty=lambda p: round(p or 0)),
    ),
    plant(
        "penalties swapped",
        REPEATING,
        change=lambda r: _change(
            presence_penalty=lambda _: r.frequency_penalty, frequency_penalty=lambda _: r.presence_penalty
        )(r),
    ),
    plant("penalties off when sampled", HELD, where=when_sampled, presence_penalty=0.0, frequency_penalty=0.0),
    plant("repetition off when sampled", REPETITION, where=when_sampled, repetition_penalty=1.0),
    plant("biases off when sampled", HELD, where=when_sampled, logit_bias=None),
    plant(
        "biases below 1 are left out",
        FRACTION,
        change=lambda r: _with_bias(r, {t: v for t, v in _bias(r).items() if abs(v) >= 1}),
    ),
    plant(
        "biases are rounded",
        FRACTION,
        change=lambda r: _with_bias(r, {t: float(round(v)) for t, v in _bias(r).items()}),
    ),
    plant("biases are at most 10", RANGE, change=_clip(10.0)),
    plant(
        "biases are never negative",
        "test_logit_bias_can_ban_a_token",
        change=lambda r: _with_bias(r, {t: max(v, 0.0) for t, v in _bias(r).items()}),
    ),
    plant("the first bias counts", RANGE, change=lambda r: _with_bias(r, dict(list(_bias(r).items())[:1]))),
    plant(
        "biases of known tokens alone",
        RANGE,
        change=lambda r: _with_bias(r, {t: v for t, v in _bias(r).items() if t < 256}),
    ),
    plant("many biases are none", RANGE, change=lambda r: _with_bias(r, _bias(r) if len(_bias(r)) <= 16 else {})),
    plant("seeds have 16 bits", BITS, change=_change(seed=lambda s: s and s & 0xFFFF)),
    plant(
        "seed 0 is none",
        "test_the_largest_seed_is_a_seed",
        change=_change(seed=lambda s: s or random.getrandbits(32)),
    ),
    plant(
        "the largest seed is none",
        "test_the_largest_seed_is_a_seed",
        change=_change(seed=lambda s: random.getrandbits(32) if s == 2**32 - 1 else s),
    ),
    plant(
        "seeds are signed",
        COLD_PROMPT,
        change=_change(seed=lambda s: random.getrandbits(31) if s is not None and s >= 2**31 else s),
    ),
    plant(
        "samples at 0 with top_p",
        "test_temperature_zero_wins_over_filters",
        change=lambda r: _change(temperature=lambda t: 1.5 if t == 0 and r.top_p not in (None, 1.0) else t)(r),
    ),
    plant(
        "samples at 0 with min_p",
        "test_temperature_zero_wins_over_filters",
        change=lambda r: _change(temperature=lambda t: 1.5 if t == 0 and r.min_p else t)(r),
    ),
    plant(
        "samples at 0 with a seed",
        "test_temperature_zero_is_greedy",
        change=lambda r: _change(temperature=lambda t: 1.5 if t == 0 and r.seed is not None else t)(r),
    ),
    plant(
        "samples at 0 with a penalty",
        REPEATING,
        change=lambda r: _change(temperature=lambda t: 0.7 if t == 0 and r.presence_penalty else t)(r),
    ),
    plant("loses top_k in chats", "test_chat_takes_every_parameter", where=in_chats, top_k=0),
    plant("loses min_p in streams", "test_min_p_of_one_is_greedy", where=in_streams, min_p=0.0),
    plant("loses top_p in raw prompts", "test_a_raw_prompt_takes_every_parameter", where=in_raw_prompts, top_p=1.0),
    plant("loses biases on new prompts", COLD_PROMPT, where=when_cold, logit_bias=None),
    plant(
        "loses penalties in crowds",
        CROWD,
        where=in_crowds,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        repetition_penalty=1.0,
    ),
    plant(
        "loses the temperature in loops",
        "test_asynchronous_calls_take_every_parameter",
        where=in_loops,
        temperature=1.0,
    ),
    # Defaults.
    plant(
        "keeps 40 tokens by default",
        "test_a_filter_wider_than_the_vocabulary_is_none",
        change=_change(top_k=lambda k: k or 40),
    ),
    plant("top_p of 0.9 by default", OFF, change=_change(top_p=lambda p: 0.9 if p in (None, 1.0) else p)),
    plant("min_p of 0.05 by default", UNSET, change=_change(min_p=lambda p: p or 0.05)),
    plant(
        "repetition of 1.1 by default",
        GREEDILY,
        change=_change(repetition_penalty=lambda p: 1.1 if p in (None, 1.0) else p),
    ),
    plant("presence of 1 by default", REPEATING, change=_change(presence_penalty=lambda p: p or 1.0)),
    plant(
        "a temperature of 0.7 in chats by default",
        NEUTRAL,
        where=in_chats,
        change=_change(temperature=lambda t: 0.7 if t in (None, 1.0) else t),
    ),
    plant("keeps 40 tokens in loops by default", NEUTRAL, where=in_loops, change=_change(top_k=lambda k: k or 40)),
    plant("16 tokens by default", CAP, change=_change(max_tokens=lambda n: n or 16)),
    plant("32 tokens by default", CAP, parameters=LONG, change=_change(max_tokens=lambda n: n or 32)),
    plant(
        "24 tokens in chats by default",
        CAP,
        where=in_chats,
        parameters=LONG,
        change=_change(max_tokens=lambda n: n or 24),
    ),
    plant("20 tokens in loops by default", CAP, where=in_loops, change=_change(max_tokens=lambda n: n or 20)),
    plant("30 tokens in streams by default", CAP, where=in_streams, change=_change(max_tokens=lambda n: n or 30)),
    plant(
        "draws with one seed",
        UNSEEDED,
        change=lambda r: _change(seed=lambda _: 42)(r) if (r.seed or 0) > 2**20 and r.seed != 2**32 - 1 else r,
    ),
    plant(
        "has ten seeds where none is given",
        UNSEEDED,
        change=lambda r: _change(seed=lambda s: s % 10)(r) if (r.seed or 0) > 2**20 and r.seed != 2**32 - 1 else r,
    ),
    plant("says nothing four times in a row", "test_a_favoured_token_repeats_without_end", kind=_NeverAgain),
)
