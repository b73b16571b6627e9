"""Arithmetic as the oracle: what parameters must do to the probabilities that a backend reports.

A backend that tells log-probabilities tells with each token the model's own distribution, as far as the alternatives
reach. From it and the parameters follows which token a greedy answer takes, which tokens a sampled one may take, and
how often. All of it is computed here, plainly, in the contract's order: logit_bias, penalties, temperature, top_k,
top_p, min_p, draw.

Log-probabilities are logits but for a constant that every token of a step shares, so whatever adds or divides after
the constant is gone can be followed exactly. ``repetition_penalty`` multiplies logits themselves and can't.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from ..results import TokenLogprob

NEAR: Final = 2e-3
"""Log-probabilities nearer than this are equal, as far as rounding tells."""
ONE_IN: Final = 1e6
"""A sound backend fails one comparison of a distribution in so many; the kit makes a few dozen of them."""
_SURE: Final = 19
"""Of twenty alternatives, the last may be the chosen token, which some servers add where it is none of the best."""
_RANKS: Final = (1, 2, 3, 5, 8, 13, 20)
_NEAR_ENOUGH: Final = 9.0
"""In variances. What is nearer to the mean than three deviations comes often enough."""
_TAILS: Final = (0.05, 0.1)
_TILTS: Final = tuple(sign * 1.25**power for power in range(-24, 8) for sign in (1, -1))
"""Exponents that are tried for the tightest of Chernoff's bounds."""

Token = int | str
"""A token's id; its text where the backend tells no ids."""


@dataclass(frozen=True, slots=True)
class Step:
    """One token of an answer, and what could have come instead."""

    chosen: Token
    logprob: float
    """Of the chosen token. Natural logarithms in the model's own distribution, here and below."""
    known: Mapping[Token, float]
    """Log-probabilities of the alternatives; no other token has more than the least of them."""
    before: Mapping[Token, int]
    """How often the answer had each token before."""


def steps(entries: Sequence[TokenLogprob]) -> Iterator[Step]:
    """The steps of an answer. Those whose tokens can't be told apart are left out."""
    before: Counter[Token] = Counter()
    for entry in entries:
        best = entry.top[:_SURE]
        by_id = all(other.token_id is not None for other in (entry, *best))
        tokens = [_token(other, by_id) for other in best]
        chosen = _token(entry, by_id)
        if best and len(set(tokens)) == len(tokens):
            known = {token: other.logprob for token, other in zip(tokens, best, strict=True)}
            yield Step(chosen, entry.logprob, known, dict(before))
        before[chosen] += 1


class Adjusted:
    """The logits of a step after bias and penalties, but for a constant.

    Args:
        step: the step.
        parameters: ``logit_bias``, ``presence_penalty``, ``frequency_penalty``.
    """

    def __init__(self, step: Step, parameters: Mapping[str, Any]) -> None:
        self._bias = {int(token): value for token, value in (parameters.get("logit_bias") or {}).items()}
        self._presence = parameters.get("presence_penalty") or 0.0
        self._frequency = parameters.get("frequency_penalty") or 0.0
        self._before = step.before
        self.known = {token: value + self._pull(token) for token, value in step.known.items()}
        self.chosen: float = step.logprob + self._pull(step.chosen)
        others = [self._pull(token) for token in {*self._bias, *step.before} if token not in step.known]
        self.unknown: float = min(step.known.values()) + max([0.0, *others])
        """No token has more that is not among the alternatives."""

    def _pull(self, token: Token) -> float:
        count = self._before.get(token, 0)
        bias = self._bias.get(token, 0.0) if isinstance(token, int) else 0.0
        return bias - (self._presence if count else 0.0) - count * self._frequency


def greedy_mistake(step: Step, parameters: Mapping[str, Any]) -> str | None:
    """What is wrong with the choice of *step* at temperature 0; None where nothing can be said against it."""
    adjusted = Adjusted(step, parameters)
    best = max(adjusted.known, key=adjusted.known.__getitem__)
    lead = adjusted.known[best] - adjusted.chosen
    if lead <= NEAR:
        return None
    return f"{step.chosen!r} was taken, though {best!r} is ahead of it by {lead:.3f} after bias and penalties"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A draw, and the distribution that it was made from."""

    chosen: Token
    probabilities: Mapping[Token, float]
    """Of the tokens that may be drawn."""
    rest: float = 0.0
    """What the tokens have together that are not among them, but may be drawn as well."""
    sharp: bool = True
    """False where rounding decides which tokens may be drawn."""
    excluded: bool = False
    """Whether a filter leaves the chosen one out, whatever rounding does."""


def drawn(step: Step, parameters: Mapping[str, Any]) -> Drawn | None:
    """The distribution from which *step* was drawn; None where too little is known to compute it.

    Known are the alternatives alone, so that it takes a ``top_k`` that stays among them, or no change at all.
    """
    adjusted = Adjusted(step, parameters)
    temperature = parameters.get("temperature", 1.0)
    top_k, top_p, min_p = parameters.get("top_k") or 0, parameters.get("top_p", 1.0), parameters.get("min_p") or 0.0
    ranked = sorted(adjusted.known, key=adjusted.known.__getitem__, reverse=True)
    values = [adjusted.known[token] for token in ranked]
    if not top_k:
        if temperature != 1 or top_p < 1 or min_p or adjusted.known != step.known:
            return None
        probabilities = {token: math.exp(value) for token, value in zip(ranked, values, strict=True)}
        return Drawn(step.chosen, probabilities, max(0.0, 1 - math.fsum(probabilities.values())))
    if len(ranked) < top_k or values[top_k - 1] < adjusted.unknown:
        return None
    sharp = adjusted.chosen < values[top_k - 1] - NEAR or step.chosen in ranked[:top_k]
    weights = _normal([(value - values[0]) / temperature for value in values[:top_k]])
    kept = len(weights)
    if top_p < 1:
        reached = 0.0
        for place, weight in enumerate(weights):
            reached += weight
            if reached >= top_p:
                kept = place + 1
                sharp = sharp and reached - top_p > 1e-3 and top_p - (reached - weight) > 1e-3
                break
    if min_p:
        least = min_p * weights[0]
        sharp = sharp and all(abs(weight / weights[0] - min_p) > 1e-2 * min_p for weight in weights)
        kept = max(1, min(kept, sum(weight >= least for weight in weights)))
    # Of tokens that are as probable as each other, any may be left out.
    sharp = sharp and (step.chosen in ranked[:kept] or adjusted.chosen < values[kept - 1] - NEAR)
    total = math.fsum(weights[:kept])
    probabilities = {token: weights[place] / total for place, token in enumerate(ranked[:kept])}
    excluded = adjusted.chosen < values[top_k - 1] - NEAR
    if step.chosen in ranked[:top_k]:
        alike = next(place for place, value in enumerate(values) if value <= adjusted.chosen + NEAR)
        beyond = math.fsum(weights[:alike]) > top_p + 1e-3
        excluded = beyond or weights[ranked.index(step.chosen)] < 0.99 * min_p * weights[0]
    return Drawn(step.chosen, probabilities, sharp=sharp, excluded=excluded)


def forbidden(draws: Sequence[Drawn]) -> Drawn | None:
    """A draw of a token that could not come."""
    for draw in draws:
        if draw.excluded or (draw.sharp and not draw.rest and draw.chosen not in draw.probabilities):
            return draw
    return None


def improbable(draws: Sequence[Drawn]) -> str | None:
    """What tells that *draws* were not made from their distributions; None where nothing does.

    Looked at are the mean logarithm of the probability of what was drawn, and how often the draw is none of the most
    probable tokens, for several numbers of them. Each is exceeded by chance once in :data:`ONE_IN` at most, by
    Chernoff's bound, which holds for any number of draws from any distributions. Where rounding decides which tokens
    may be drawn, a draw tells nothing.
    """
    draws = [draw for draw in draws if draw.sharp]
    if not draws:
        return None
    mean = _Surplus()
    beyond = {rank: _Surplus() for rank in _RANKS}
    tails = {share: _Surplus() for share in _TAILS}
    for draw in draws:
        ranked = sorted(draw.probabilities, key=draw.probabilities.__getitem__, reverse=True)
        weights = [draw.probabilities[token] for token in ranked] + ([draw.rest] if draw.rest > 0 else [])
        place = ranked.index(draw.chosen) if draw.chosen in draw.probabilities else len(ranked)
        if place >= len(weights):
            return f"{draw.chosen!r} was drawn, which can't come"
        values = [math.log(weight) for weight in weights]
        if draw.rest > 0:  # many tokens, none more probable than the last one that is known
            values[-1] = values[-2]
        mean.add(weights, values, place)
        for share, each in tails.items():
            if 0 < draw.rest < share:  # a filter that keeps as much as 1 - share leaves nothing of the rest
                each.add(weights, [float(other == len(weights) - 1) for other in range(len(weights))], place)
        for rank, each in beyond.items():
            if rank < len(weights):
                each.add(weights, [float(other >= rank) for other in range(len(weights))], place)
    if mean.is_improbable:
        how = "more" if mean.value > 0 else "less"
        return (
            f"over {len(draws)} draws, the tokens that came are {how} probable than they should be: the logarithm of "
            f"their probability is off by {mean.value / len(draws):+.3f} on average"
        )
    for share, each in tails.items():
        if each.is_improbable:
            how = "often" if each.value > 0 else "seldom"
            return f"over {len(draws)} draws, tokens of the last {share:.0%} of the probability come too {how}"
    for rank, each in beyond.items():
        if each.is_improbable:
            how = "often" if each.value > 0 else "seldom"
            return f"over {len(draws)} draws, others than the {rank} most probable tokens come too {how}"
    return None


def dependent(draws: Sequence[Drawn]) -> str | None:
    """What tells that a draw depends on the one before it; None where nothing does.

    Each draw has a place in its distribution, the most probable tokens first: a number from -1/2 to 1/2 with the mean
    0. The sum of the products of neighbours is as far from 0 by chance once in :data:`ONE_IN` at most (Bernstein's
    inequality for martingales).
    """
    places: list[tuple[float, float]] = []
    for draw in draws:
        if not draw.sharp or draw.rest or draw.chosen not in draw.probabilities:
            continue
        ranked = sorted(draw.probabilities, key=draw.probabilities.__getitem__, reverse=True)
        before, place, variance = 0.0, 0.0, 0.0
        for token in ranked:
            weight = draw.probabilities[token]
            middle = before + weight / 2 - 0.5
            variance += weight * middle * middle
            place = middle if token == draw.chosen else place
            before += weight
        places.append((place, variance))
    total = math.fsum(one * other for (one, _), (other, _) in pairwise(places))
    variance = math.fsum(one * one * spread for (one, _), (_, spread) in pairwise(places))
    if total * total <= 2 * math.log(2 * ONE_IN) * (variance + abs(total) / 12):
        return None
    how = "near to" if total > 0 else "far from"
    return f"over {len(places)} draws, a token's place in its distribution is {how} that of the token before it"


class _Surplus:
    """By how much the sum of a value over all draws is more than it should be."""

    def __init__(self) -> None:
        self.value = 0.0
        self._variance = 0.0
        self._draws: list[list[tuple[float, float]]] = []

    def add(self, weights: Sequence[float], values: Sequence[float], place: int) -> None:
        """A draw of the outcome at *place*, and the values of all outcomes with their probabilities."""
        mean = math.fsum(weight * value for weight, value in zip(weights, values, strict=True)) / math.fsum(weights)
        cells = [(weight, value - mean) for weight, value in zip(weights, values, strict=True)]
        self._draws.append(cells)
        self._variance += math.fsum(weight * value * value for weight, value in cells)
        self.value += values[place] - mean

    @property
    def is_improbable(self) -> bool:
        """Whether chance alone comes as far once in :data:`ONE_IN` at most."""
        if self.value * self.value < _NEAR_ENOUGH * self._variance:
            return False  # nothing to compute: no bound is as low as that here
        return _chance(self._draws, self.value) < -math.log(2 * ONE_IN)


def _chance(cells: Sequence[Sequence[tuple[float, float]]], surplus: float) -> float:
    """The logarithm of a bound on the chance that the sum of all draws' values is as far from 0 as *surplus*, on its
    side. *cells* has probabilities and values of each draw, whose mean is 0 (Chernoff, 1952)."""
    best = 0.0
    for tilt in _TILTS:
        if tilt * surplus <= 0:
            continue
        bound = -tilt * surplus
        for draw in cells:
            bound += math.log(math.fsum(weight * math.exp(min(600.0, tilt * value)) for weight, value in draw))
        best = min(best, bound)
    return best


def _normal(logits: Sequence[float]) -> list[float]:
    weights = [math.exp(logit - max(logits)) for logit in logits]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _token(entry: TokenLogprob, by_id: bool) -> Token:
    return entry.token_id if by_id and entry.token_id is not None else entry.token
