"""The meaning of the sampling parameters, plainly, in 64 bits: what both engines of this process are tested against.

The order is part of the meaning: logit_bias, repetition_penalty, frequency_penalty and presence_penalty, temperature,
top_k, top_p, min_p, then the draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from llamaforge.requests import GenerationRequest


def probabilities(
    logits: npt.NDArray[Any], request: GenerationRequest, prompt: Iterable[int] = (), answer: Iterable[int] = ()
) -> dict[int, float]:
    """Which tokens may come next, and how probable each is. Where two are equally good, the one with the lower number
    comes first.

    Args:
        logits: the model's own, one for each token.
        request: the sampling parameters; one that is not set does nothing.
        prompt: tokens of the prompt.
        answer: tokens of the answer so far.
    """
    scores = logits.astype(np.float64)
    answer = list(answer)
    for token, bias in (request.logit_bias or {}).items():
        scores[token] += bias
    penalty = request.repetition_penalty or 1.0
    for token in {*prompt, *answer}:
        scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
    for token, count in Counter(answer).items():
        scores[token] -= count * (request.frequency_penalty or 0.0) + (request.presence_penalty or 0.0)
    order = np.argsort(-scores, kind="stable")
    if request.temperature == 0:
        return {int(order[0]): 1.0}
    scores = scores[order] / (1.0 if request.temperature is None else request.temperature)
    if request.top_k:  # 0 is off
        scores = scores[: request.top_k]
    share = softmax(scores)
    if request.top_p is not None and request.top_p < 1:  # as few of the best as together have at least top_p
        share = softmax(scores[: int(np.searchsorted(np.cumsum(share), request.top_p)) + 1])
    if request.min_p:  # those that are at least min_p times as probable as the best
        share = softmax(scores[: int((share >= request.min_p * share[0]).sum())])
    return {int(token): float(each) for token, each in zip(order, share, strict=False)}


def softmax(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Probabilities of *scores*."""
    powers = np.exp(scores - scores.max())
    result: npt.NDArray[np.float64] = powers / powers.sum()
    return result


def token_mask(*allowed: int, size: int) -> bytes:
    """A mask (:class:`llamaforge.engine.BatchEntry`) that allows these of *size* tokens."""
    bits = np.zeros(-(-size // 32) * 32, dtype=np.bool_)
    bits[list(allowed)] = True
    return np.packbits(bits, bitorder="little").tobytes()
