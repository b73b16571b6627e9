"""What the sampling parameters mean, by the book: plain arithmetic in 64 bits, in the canonical order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]


def given_logits(size: int) -> Numbers:
    """Logits of *size* tokens, always the same ones."""
    logits: Numbers = np.random.default_rng(11).normal(0, 2, size).astype(np.float32).astype(np.float64)
    return logits


def distribution(logits: Numbers, prompt: Sequence[int], answer: Sequence[int], asked: dict[str, Any]) -> Numbers:
    """The probability of each token to be the next one."""
    wide = logits.copy()
    for token, bias in asked.get("logit_bias", {}).items():
        wide[token] += bias
    penalty = asked.get("repetition_penalty", 1.0)
    for token in {*prompt, *answer}:
        wide[token] = wide[token] / penalty if wide[token] > 0 else wide[token] * penalty
    for token, count in Counter(answer).items():
        wide[token] -= asked.get("presence_penalty", 0.0) + count * asked.get("frequency_penalty", 0.0)
    wide /= asked.get("temperature", 1.0)
    kept = np.argsort(-wide, kind="stable")[: asked.get("top_k") or None]
    reached = np.cumsum(_softmax(wide[kept]))
    kept = kept[: int(np.searchsorted(reached, asked.get("top_p", 1.0))) + 1]
    kept = kept[_softmax(wide[kept]) >= asked.get("min_p", 0.0) * _softmax(wide[kept])[0]]
    probabilities = np.zeros(len(wide))
    probabilities[kept] = _softmax(wide[kept])
    return probabilities


def _softmax(values: Numbers) -> Numbers:
    shifted = np.exp(values - values.max())
    shares: Numbers = shifted / shifted.sum()
    return shares
