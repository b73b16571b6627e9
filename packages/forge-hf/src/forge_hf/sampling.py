"""From logits to the next token, by the canonical parameters in their canonical order.

logit_bias, repetition_penalty, frequency_penalty and presence_penalty, temperature, top_k, top_p, min_p, draw. Of
tokens that are equally good the one with the lower number comes first. Every request has a sampler of its own with its
own random numbers; torch's global ones are neither read nor moved. It works in the host's memory, so that the same seed
draws the same on every device, and a step waits for an accelerator once and not for each request.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from llamaforge.engine import Choice, SamplingParams, apply_mask, only_token
from llamaforge.errors import GenerationError
from llamaforge.results import TokenLogprob

Mask = bytes | bytearray | memoryview
"""One bit for each token id, 1 where the token may be chosen."""

_COLDEST = 1e-6
"""Lower temperatures are this one: the differences between logits, divided by less, would leave float32's range."""
_NUCLEUS = 512
"""As many of the best tokens are looked at for top_p before the whole vocabulary is sorted."""


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        params: how to choose.
        prompt: the prompt's tokens, which repetition_penalty counts.
        vocab_size: length of the logits.
        token_text: names a token, for log-probabilities.
    """

    def __init__(
        self, params: SamplingParams, prompt: Sequence[int], vocab_size: int, token_text: Callable[[int], str]
    ) -> None:
        self._params = params
        self._logprobs = params.top_logprobs is not None
        self._top_logprobs = min(params.top_logprobs or 0, vocab_size)
        self._token_text = token_text
        self._generator: torch.Generator | None = None
        if params.temperature > 0:
            self._generator = torch.Generator()
            if params.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(params.seed)
        self._bias: tuple[Tensor, Tensor] | None = None
        if params.logit_bias:
            self._bias = torch.tensor([*params.logit_bias]), torch.tensor([*params.logit_bias.values()]).float()
        self._counts: Counter[int] = Counter()
        self._penalty = torch.zeros(vocab_size) if params.presence_penalty or params.frequency_penalty else None
        self._seen: Tensor | None = None
        if params.repetition_penalty != 1:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool)
            known = [token for token in set(prompt) if token < vocab_size]
            self._seen[torch.tensor(known, dtype=torch.long)] = True

    @property
    def is_plain(self) -> bool:
        """Whether the next token is simply the one with the largest logit."""
        return self._params.temperature == 0 and not self._params.adjusts_logits and not self._logprobs

    def close(self) -> None:
        """Nothing to give back that isn't garbage."""

    def choose(self, logits: Tensor, mask: Mask | None = None) -> Choice:
        """The next token after *logits*, a float32 for each token of the vocabulary. It counts for the penalties.

        Of the tokens that *mask* allows (:attr:`llamaforge.engine.BatchEntry.masks`).

        Raises GenerationError where the logits are no numbers, or no token is allowed.
        """
        allowed = logits
        forced = None if mask is None else only_token(mask)
        if mask is not None and forced is None:
            allowed = logits.clone()
            apply_mask(allowed.numpy(), mask)
        if forced is not None:
            token = forced
            if math.isnan(float(logits[token])):
                raise no_numbers()
        elif self._params.temperature == 0:
            best, index = self._adjust(allowed).max(dim=0)
            if math.isnan(float(best)):
                raise no_numbers()
            token = int(index)
        else:
            tokens, probabilities = self.distribution(allowed)
            drawn = _draw(probabilities, self._generator)
            token = drawn if tokens is None else int(tokens[drawn])
        self._count(token)
        return Choice(token, self._logprob(logits, token) if self._logprobs else None)

    def distribution(self, logits: Tensor) -> tuple[Tensor | None, Tensor]:
        """What the next token is drawn from: tokens (None: all, in order) and their probabilities."""
        logits = self._adjust(logits)
        best = float(logits.max())
        if math.isnan(best):
            raise no_numbers()
        logits = (logits - best) / max(self._params.temperature, _COLDEST)
        tokens: Tensor | None = None  # where set, logits are sorted, best first
        if 0 < self._params.top_k < logits.numel():
            logits, tokens = _best(logits, self._params.top_k)
        if self._params.top_p < 1:
            if tokens is None:
                logits, tokens = self._nucleus(logits)
            else:
                logits, tokens = self._cut(logits, tokens, logits.softmax(0))
        if self._params.min_p > 0:
            keep = logits >= math.log(self._params.min_p)
            tokens = keep.nonzero().squeeze(1) if tokens is None else tokens[keep]
            logits = logits[keep]
        return tokens, logits.softmax(0)

    def _adjust(self, logits: Tensor) -> Tensor:
        """Bias and penalties."""
        if self._bias is not None:
            logits = logits.index_add(0, *self._bias)
        if self._seen is not None:
            # CTRL, Keskar et al. 2019, https://arxiv.org/abs/1909.05858; negative logits are multiplied, as is usual.
            repetition = self._params.repetition_penalty
            penalized = torch.where(logits > 0, logits / repetition, logits * repetition)
            logits = torch.where(self._seen, penalized, logits)
        if self._penalty is not None:
            logits = logits - self._penalty
        return logits

    def _nucleus(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """top_p over the whole vocabulary, mostly without sorting all of it."""
        total = torch.logsumexp(logits, dim=0)
        if logits.numel() > _NUCLEUS:
            best, tokens = _best(logits, _NUCLEUS)
            probabilities = (best - total).exp()
            if float(probabilities.sum()) >= self._params.top_p:
                return self._cut(best, tokens, probabilities)
        best, tokens = logits.sort(descending=True, stable=True)
        return self._cut(best, tokens, (best - total).exp())

    def _cut(self, logits: Tensor, tokens: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest beginning whose *probabilities* reach top_p; at least one token."""
        size = int((probabilities.cumsum(0) < self._params.top_p).sum()) + 1
        return logits[:size], tokens[:size]

    def _count(self, token: int) -> None:
        if self._seen is not None:
            self._seen[token] = True
        if self._penalty is not None:
            self._counts[token] += 1
            self._penalty[token] = self._params.presence_penalty + self._counts[token] * self._params.frequency_penalty

    def _logprob(self, logits: Tensor, token: int) -> TokenLogprob:
        """Of the model's own distribution."""
        total = torch.logsumexp(logits, dim=0)
        top: tuple[TokenLogprob, ...] = ()
        if self._top_logprobs:
            values, tokens = _best(logits, self._top_logprobs)
            entries = zip(tokens.tolist(), (values - total).tolist(), strict=True)
            top = tuple(TokenLogprob(self._token_text(each), logprob, each) for each, logprob in entries)
        return TokenLogprob(self._token_text(token), float(logits[token] - total), token, top)


def no_numbers() -> GenerationError:
    """What to tell where the logits are NaN."""
    return GenerationError(
        "The model computed no numbers (NaN) for the next token. Its dtype is too small for it, or its weights are "
        "damaged: load it with dtype='float32' or 'bfloat16'."
    )


def _best(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The *count* largest logits and their tokens, best first. Of equal ones, topk alone takes any."""
    least = logits.topk(count).values[-1]
    tokens = (logits >= least).nonzero().squeeze(1)
    values, order = logits[tokens].sort(descending=True, stable=True)
    return values[:count], tokens[order[:count]]


def _draw(probabilities: Tensor, generator: torch.Generator | None) -> int:
    """An index, each as often as its probability says."""
    reached = probabilities.cumsum(0, dtype=torch.float64)
    point = torch.rand(1, generator=generator, dtype=torch.float64) * reached[-1]
    return min(int(torch.searchsorted(reached, point, right=True)), len(reached) - 1)
