"""Log-probabilities of tokens in the model's own distribution, before any sampling parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llamaforge.results import TokenLogprob

if TYPE_CHECKING:
    import numpy.typing as npt

    from .tokenizer import Vocabulary


def token_logprob(
    logits: npt.NDArray[np.float32], token: int, alternatives: int, vocabulary: Vocabulary
) -> TokenLogprob:
    """The natural logarithm of *token*'s probability: its log-softmax; with the best *alternatives*."""
    wide = logits.astype(np.float64)
    highest = wide.max()
    log_sum = highest + np.log(np.exp(wide - highest).sum())

    def named(each: int) -> TokenLogprob:
        return TokenLogprob(vocabulary.token_text(each), float(wide[each] - log_sum), each)

    top: tuple[TokenLogprob, ...] = ()
    if alternatives:
        count = min(alternatives, len(wide))
        best = np.argpartition(-wide, count - 1)[:count]
        top = tuple(named(int(each)) for each in sorted(best, key=lambda each: (-wide[each], each)))
    chosen = named(token)
    return TokenLogprob(chosen.token, chosen.logprob, token, top)
