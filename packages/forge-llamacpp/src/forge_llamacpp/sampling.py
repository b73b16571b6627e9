"""How the next token is chosen: one chain of llama.cpp's samplers a request.

The order is core's: logit_bias, penalties, temperature, top_k, top_p, min_p, then the draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llama_cpp import llama_cpp as lib

from llamaforge.engine import SamplingParams

_GREEDY_BELOW: Final = 1e-6
"""Temperatures under this are greedy. llama.cpp sorts by buckets and loses order where logits pass about 3e8, and a
32-bit logit has no digits left there anyway."""

_PENALTY_RANGE: Final = (1e-6, 1e6)
"""Repetition penalties beyond decide everything already, and would overflow."""

_SHARP_BELOW: Final = 0.5
_NEGLIGIBLE: Final = 1e-7
"""At temperatures under the one, tokens that together have less than the other of all probability are dropped before
the rest is sorted: 32 bits can't tell the difference, and choosing takes an eighth of the time. Above, too few go."""


class Sampler:
    """The sampling of one request, with its memory of the tokens so far. Free it with :meth:`close`.

    :attr:`chain` is None where nothing is wanted but the best token: that takes no chain.
    :attr:`alternatives` is how many of the best tokens are told beside each log-probability, and None without any.

    Args:
        params: what is asked for.
        vocabulary_size: tokens that the model knows.
        prompt: tokens of the prompt.
        max_new_tokens: tokens that the answer may have, at most.
    """

    def __init__(
        self, params: SamplingParams, vocabulary_size: int, prompt: Iterable[int], max_new_tokens: int
    ) -> None:
        self.alternatives = params.top_logprobs
        self.chain: Any = None
        penalty = _clamp(params.repetition_penalty)
        greedy = params.temperature * min(1.0, penalty) < _GREEDY_BELOW
        if greedy and not params.adjusts_logits:
            return
        parameters = lib.llama_sampler_chain_default_params()
        parameters.no_perf = True
        self.chain = lib.llama_sampler_chain_init(parameters)
        try:
            self._add_bias(params.logit_bias, vocabulary_size)
            self._add_repetition(penalty, vocabulary_size, set(prompt), max_new_tokens)
            self._add_answer_penalties(params, vocabulary_size, max_new_tokens)
            if greedy:
                self._add(lib.llama_sampler_init_greedy())
            else:
                self._add_draw(params, vocabulary_size)
        except BaseException:
            self.close()
            raise

    def accept(self, token: int) -> None:
        """*token* was chosen without the chain, whose penalties count it."""
        if self.chain is not None:
            lib.llama_sampler_accept(self.chain, token)

    def close(self) -> None:
        """Give the memory back. More than once does no harm."""
        chain, self.chain = self.chain, None
        if chain is not None:
            lib.llama_sampler_free(chain)

    def _add(self, sampler: Any) -> None:
        lib.llama_sampler_chain_add(self.chain, sampler)

    def _add_bias(self, bias: Mapping[int, float], vocabulary_size: int) -> None:
        if bias:
            entries = (lib.llama_logit_bias * len(bias))(*(lib.llama_logit_bias(*entry) for entry in bias.items()))
            self._add(lib.llama_sampler_init_logit_bias(vocabulary_size, len(bias), entries))

    def _add_repetition(self, penalty: float, vocabulary_size: int, prompt: set[int], max_new_tokens: int) -> None:
        """The penalty that knows the prompt. It asks only whether a token is there, so each is told once."""
        if penalty != 1:
            window = len(prompt) + max_new_tokens
            sampler = lib.llama_sampler_init_penalties(vocabulary_size, window, penalty, 0.0, 0.0)
            self._add(sampler)
            for token in prompt:
                lib.llama_sampler_accept(sampler, token)

    def _add_answer_penalties(self, params: SamplingParams, vocabulary_size: int, max_new_tokens: int) -> None:
        """The penalties that know only the answer: the whole of it, for llama.cpp takes -1 as "none"."""
        frequency, presence = params.frequency_penalty, params.presence_penalty
        if frequency or presence:
            self._add(lib.llama_sampler_init_penalties(vocabulary_size, max_new_tokens, 1.0, frequency, presence))

    def _add_draw(self, params: SamplingParams, vocabulary_size: int) -> None:
        if params.temperature != 1:
            self._add(lib.llama_sampler_init_temp(params.temperature))
            if params.temperature < _SHARP_BELOW:
                self._add(lib.llama_sampler_init_min_p(_NEGLIGIBLE / vocabulary_size, 1))
        if params.top_k:
            self._add(lib.llama_sampler_init_top_k(min(params.top_k, vocabulary_size)))
        if params.top_p < 1:
            self._add(lib.llama_sampler_init_top_p(params.top_p, 1))
        if params.min_p:
            self._add(lib.llama_sampler_init_min_p(params.min_p, 1))
        self._add(lib.llama_sampler_init_dist(_seed(params.seed)))


def _clamp(penalty: float) -> float:
    low, high = _PENALTY_RANGE
    return min(max(penalty, low), high)


def _seed(seed: int | None) -> int:
    """llama.cpp reads its largest seed as "take any", so that one becomes another."""
    if seed is None or seed != lib.LLAMA_DEFAULT_SEED:
        return lib.LLAMA_DEFAULT_SEED if seed is None else seed
    return lib.LLAMA_DEFAULT_SEED - 1
