"""From logits to a token, by the canonical parameters in their canonical order.

logit_bias, penalties, temperature, top_k, top_p, min_p, draw.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence

from ...errors import InvalidParameterError
from ...requests import GenerationRequest

Mask = Callable[[int], bool]
"""Whether a token may come next."""


class ToySampler:
    """Chooses the tokens of one answer.

    Raises InvalidParameterError where logit_bias names a token that there isn't.
    """

    def __init__(self, request: GenerationRequest, prompt: Sequence[int], size: int) -> None:
        self._request = request
        self.random = random.Random(request.seed)  # noqa: S311 - sampling, not cryptography
        self._seen = set(prompt)
        self._counts: Counter[int] = Counter()
        self._bias = request.logit_bias or {}
        for token in self._bias:
            if not 0 <= token < size:
                raise InvalidParameterError(
                    "logit_bias", token, f"a mapping from tokens of this model, 0 to {size - 1}, to numbers"
                )

    def choose(self, logits: Sequence[float], allowed: Mask | None = None) -> int:
        """The next token. *allowed* leaves out what a grammar forbids."""
        adjusted = list(logits)
        for token in {*self._bias, *self._seen}:
            adjusted[token] = self._adjust(token, adjusted[token])
        tokens = [token for token in range(len(logits)) if allowed is None or allowed(token)]
        if self.temperature == 0:
            chosen = max(tokens, key=adjusted.__getitem__)
        else:
            tokens.sort(key=adjusted.__getitem__, reverse=True)
            chosen = self._draw(tokens, adjusted)
        self._seen.add(chosen)
        self._counts[chosen] += 1
        return chosen

    @property
    def temperature(self) -> float:
        """What the logits are divided by; 0 is greedy."""
        return 1.0 if self._request.temperature is None else self._request.temperature

    def _adjust(self, token: int, logit: float) -> float:
        request = self._request
        logit += self._bias.get(token, 0.0)
        if token in self._seen and request.repetition_penalty is not None:
            penalty = request.repetition_penalty
            logit = logit / penalty if logit > 0 else logit * penalty
        count = self._counts[token]
        if count:
            logit -= (request.presence_penalty or 0.0) + count * (request.frequency_penalty or 0.0)
        return logit

    def _draw(self, tokens: list[int], adjusted: Sequence[float]) -> int:
        """Draw one of *tokens*, which are sorted, best first."""
        request = self._request
        best = adjusted[tokens[0]]
        weights = [math.exp((adjusted[token] - best) / self.temperature) for token in tokens]
        if request.top_k:
            weights = weights[: request.top_k]
        if request.top_p is not None and request.top_p < 1:
            needed, total = request.top_p * math.fsum(weights), 0.0
            for kept, weight in enumerate(weights):
                total += weight
                if total >= needed:
                    weights = weights[: kept + 1]
                    break
        if request.min_p:
            weights = [weight for weight in weights if weight >= request.min_p]
        return self.random.choices(tokens[: len(weights)], weights)[0]


def log_softmax(logits: Sequence[float]) -> list[float]:
    """Natural log-probabilities."""
    best = max(logits)
    total = best + math.log(math.fsum(math.exp(logit - best) for logit in logits))
    return [logit - total for logit in logits]
