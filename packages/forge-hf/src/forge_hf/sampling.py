"""From logits to the next token, by the canonical parameters in their canonical order.

logit_bias, repetition_penalty, frequency_penalty and presence_penalty, temperature, top_k, top_p, min_p, draw. Every
request has a sampler of its own with its own random numbers; torch's global ones are neither read nor moved.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from llamaforge.errors import GenerationError, InvalidParameterError
from llamaforge.requests import GenerationRequest

_COLDEST = 1e-6
"""Lower temperatures are this one: the differences between logits, divided by less, would leave float32's range."""
_NUCLEUS = 512
"""As many of the best tokens are looked at for top_p before the whole vocabulary is sorted."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The next token, with natural log-probabilities of the model's own distribution where they were asked for."""

    token: int
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()
    """The most probable tokens and their log-probabilities, best first."""


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        request: the parameters, with core's defaults filled in.
        prompt: the prompt's tokens, which repetition_penalty counts.
        vocab_size: length of the logits.
        device: where the logits are.

    Raises InvalidParameterError where logit_bias names a token that the model doesn't have.
    """

    def __init__(
        self, request: GenerationRequest, prompt: Iterable[int], vocab_size: int, device: torch.device
    ) -> None:
        self._temperature = 1.0 if request.temperature is None else request.temperature
        self._top_k = request.top_k or 0
        self._top_p = 1.0 if request.top_p is None else request.top_p
        self._min_p = request.min_p or 0.0
        self._logprobs = bool(request.logprobs)
        self._top_logprobs = min(request.top_logprobs or 0, vocab_size)
        self._device = device
        self._generator: torch.Generator | None = None
        if self._temperature > 0:
            self._generator = torch.Generator(device=device)
            if request.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(request.seed)
        self._bias = _bias(request.logit_bias or {}, vocab_size, device)
        self._presence = request.presence_penalty or 0.0
        self._frequency = request.frequency_penalty or 0.0
        self._counts: Counter[int] = Counter()
        self._penalty = torch.zeros(vocab_size, device=device) if self._presence or self._frequency else None
        self._repetition = 1.0 if request.repetition_penalty is None else request.repetition_penalty
        self._seen: Tensor | None = None
        if self._repetition != 1.0:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            known = [token for token in set(prompt) if token < vocab_size]
            self._seen[torch.tensor(known, dtype=torch.long, device=device)] = True

    @torch.inference_mode()
    def choose(self, logits: Tensor) -> Choice:
        """The next token after *logits*, one number a token of the vocabulary. It counts for the penalties from now on.

        Raises GenerationError where the logits are no numbers.
        """
        logits = logits.float()
        adjusted = self._adjust(logits)
        if self._temperature == 0:
            token = int(adjusted.argmax())
            if math.isnan(float(adjusted[token])):
                raise _no_numbers()
        else:
            tokens, probabilities = self._distribution(adjusted)
            draw = draw_by_sum if probabilities.is_cpu else draw_by_race
            winner = draw(probabilities, self._generator)
            token = winner if tokens is None else int(tokens[winner])
        self._count(token)
        if not self._logprobs:
            return Choice(token)
        total = torch.logsumexp(logits, dim=0)
        top: tuple[tuple[int, float], ...] = ()
        if self._top_logprobs:
            values, tokens = logits.topk(self._top_logprobs)
            top = tuple(zip(tokens.tolist(), (values - total).tolist(), strict=True))
        return Choice(token, float(logits[token] - total), top)

    @torch.inference_mode()
    def distribution(self, logits: Tensor) -> tuple[Tensor | None, Tensor]:
        """What the next token is drawn from: tokens (None: all, in order) and their probabilities."""
        return self._distribution(self._adjust(logits.float()))

    def _adjust(self, logits: Tensor) -> Tensor:
        """Bias and penalties."""
        if self._bias is not None:
            logits = logits.index_add(0, *self._bias)
        if self._seen is not None:
            # CTRL, Keskar et al. 2019, https://arxiv.org/abs/1909.05858; negative logits are multiplied, as is usual.
            penalized = torch.where(logits > 0, logits / self._repetition, logits * self._repetition)
            logits = torch.where(self._seen, penalized, logits)
        if self._penalty is not None:
            logits = logits - self._penalty
        return logits

    def _distribution(self, logits: Tensor) -> tuple[Tensor | None, Tensor]:
        """Temperature and filters, on logits that are relative to the best one."""
        best = logits.max()
        if math.isnan(float(best)):
            raise _no_numbers()
        logits = (logits - best) / max(self._temperature, _COLDEST)
        tokens: Tensor | None = None  # where set, logits are sorted, best first
        if 0 < self._top_k < logits.numel():
            logits, tokens = logits.topk(self._top_k)
        if self._top_p < 1:
            if tokens is None:
                logits, tokens = self._nucleus(logits)
            else:
                logits, tokens = self._cut(logits, tokens, logits.softmax(0))
        if self._min_p > 0:
            keep = logits >= math.log(self._min_p)
            tokens = keep.nonzero().squeeze(1) if tokens is None else tokens[keep]
            logits = logits[keep]
        return tokens, logits.softmax(0)

    def _nucleus(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """top_p over the whole vocabulary, mostly without sorting all of it."""
        total = torch.logsumexp(logits, dim=0)
        if logits.numel() > _NUCLEUS:
            best, tokens = logits.topk(_NUCLEUS)
            probabilities = (best - total).exp()
            if float(probabilities.sum()) >= self._top_p:
                return self._cut(best, tokens, probabilities)
        best, tokens = logits.sort(descending=True)
        return self._cut(best, tokens, (best - total).exp())

    def _cut(self, logits: Tensor, tokens: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest beginning whose *probabilities* reach top_p; at least one token."""
        size = int((probabilities.cumsum(0) < self._top_p).sum()) + 1
        return logits[:size], tokens[:size]

    def _count(self, token: int) -> None:
        if self._seen is not None:
            self._seen[token] = True
        if self._penalty is not None:
            self._counts[token] += 1
            self._penalty[token] = self._presence + self._counts[token] * self._frequency


def draw_by_sum(probabilities: Tensor, generator: torch.Generator | None) -> int:
    """An index, each as often as its probability says. One random number: the quickest way on a CPU."""
    reached = probabilities.cumsum(0, dtype=torch.float64)
    point = torch.rand(1, generator=generator, dtype=torch.float64) * reached[-1]
    return min(int(torch.searchsorted(reached, point, right=True)), len(reached) - 1)


def draw_by_race(probabilities: Tensor, generator: torch.Generator | None) -> int:
    """The same with a random number a token, and no sum whose order of additions an accelerator may choose."""
    race = torch.empty_like(probabilities).exponential_(generator=generator)
    return int((probabilities / race).argmax())


def _bias(biases: dict[int, float], vocab_size: int, device: torch.device) -> tuple[Tensor, Tensor] | None:
    for token in biases:
        if not 0 <= token < vocab_size:
            raise InvalidParameterError(
                "logit_bias", token, f"a mapping from tokens of this model, 0 to {vocab_size - 1}, to numbers"
            )
    if not biases:
        return None
    return (
        torch.tensor(list(biases), dtype=torch.long, device=device),
        torch.tensor(list(biases.values()), dtype=torch.float32, device=device),
    )


def _no_numbers() -> GenerationError:
    return GenerationError(
        "The model computed no numbers (NaN) for the next token. Its dtype is too small for it, or its weights are "
        "damaged: load it with dtype='float32' or 'bfloat16'."
    )
