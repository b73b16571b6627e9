"""The next word, by LlamaForge's canonical parameters in their canonical order.

logit_bias, penalties, temperature, top_k, top_p, min_p, draw. Log-probabilities are the logits.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

from llamaforge import GenerationRequest, TokenLogprob
from llamaforge.errors import GenerationError, InvalidParameterError

from .model import BEGIN, UNKNOWN, NgramModel


class Sampler:
    """Chooses the words of one answer, with random numbers of its own.

    Raises InvalidParameterError where logit_bias names a word that the model doesn't have.
    """

    def __init__(self, request: GenerationRequest, model: NgramModel, prompt: Sequence[int]) -> None:
        self._request = request
        self._model = model
        self._prompt = frozenset(prompt)
        self._said: Counter[int] = Counter()
        self._dice = random.Random(request.seed)
        self._never = {model.ids[word] for word in (BEGIN, UNKNOWN) if word in model.ids}
        for token in request.logit_bias or ():
            if not 0 <= token < len(model.vocabulary):
                expected = f"a mapping from words of this model, 0 to {len(model.vocabulary) - 1}"
                raise InvalidParameterError("logit_bias", token, expected)

    def choose(self, logprobs: Sequence[float]) -> int:
        """The next word's id. It counts for the penalties from now on."""
        logits = {word: logprob for word, logprob in enumerate(logprobs) if self._can_come(word, logprob)}
        if not logits:
            raise GenerationError("The model says that no word can follow here: all have the probability 0.")
        self._adjust(logits)
        ranked = sorted(logits, key=lambda word: (-logits[word], word))
        temperature = 1.0 if self._request.temperature is None else self._request.temperature
        chosen = ranked[0] if temperature == 0 else self._draw(ranked, logits, temperature)
        self._said[chosen] += 1
        return chosen

    def describe(self, chosen: int, logprobs: Sequence[float]) -> tuple[TokenLogprob, ...]:
        """The word's log-probability by the model alone, and the best alternatives, where they were asked for."""
        if not self._request.logprobs:
            return ()
        able = [word for word, logprob in enumerate(logprobs) if self._can_come(word, logprob)]
        total = math.log(math.fsum(math.exp(logprobs[word]) for word in able))

        def described(word: int) -> TokenLogprob:
            return TokenLogprob(self.text(word), logprobs[word] - total, word)

        best = sorted(able, key=lambda word: (-logprobs[word], word))[: self._request.top_logprobs or 0]
        return (TokenLogprob(self.text(chosen), logprobs[chosen] - total, chosen, tuple(map(described, best))),)

    def text(self, word: int) -> str:
        """The word as it stands in the answer."""
        return f" {self._model.vocabulary[word]}"

    def _can_come(self, word: int, logprob: float) -> bool:
        return logprob > -math.inf and word not in self._never

    def _adjust(self, logits: dict[int, float]) -> None:
        """Bias and penalties."""
        request = self._request
        for word, bias in (request.logit_bias or {}).items():
            if word in logits:
                logits[word] += bias
        repetition = request.repetition_penalty or 1.0
        for word in (self._prompt | self._said.keys()) & logits.keys():
            logits[word] = logits[word] / repetition if logits[word] > 0 else logits[word] * repetition
        for word, count in self._said.items():
            if word in logits:
                logits[word] -= (request.presence_penalty or 0.0) + count * (request.frequency_penalty or 0.0)

    def _draw(self, ranked: list[int], logits: dict[int, float], temperature: float) -> int:
        """One of *ranked*, best first, as probable as temperature and filters make it."""
        best = logits[ranked[0]]
        weights = [math.exp((logits[word] - best) / temperature) for word in ranked]
        size = min(self._request.top_k or len(ranked), len(ranked))
        if self._request.top_p is not None and self._request.top_p < 1:
            enough, reached, kept = self._request.top_p * math.fsum(weights[:size]), 0.0, 0
            while kept < size and reached < enough:
                reached += weights[kept]
                kept += 1
            size = kept
        if self._request.min_p:
            size = sum(weight >= self._request.min_p for weight in weights[:size])  # the best has the weight 1
        return self._dice.choices(ranked[:size], weights[:size])[0]
