"""A back-off n-gram model: what comes next, given the last few words.

S. Katz, "Estimation of probabilities from sparse data for the language model component of a speech recognizer", IEEE
Transactions on Acoustics, Speech and Signal Processing 35(3), 1987.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BEGIN = "<s>"
END = "</s>"
UNKNOWN = "<unk>"


@dataclass(frozen=True)
class NgramModel:
    """The tables of a model. Nothing in it changes, so any number of threads may use it at once.

    A token's id is its place in the vocabulary. Logarithms are natural.
    """

    vocabulary: Sequence[str]
    logprobs: Mapping[tuple[int, ...], Mapping[int, float]]
    """Context to the words that were seen after it; the empty context has every word."""
    backoffs: Mapping[tuple[int, ...], float]
    """Context to the logarithm of its back-off weight; 0 where there is none."""
    order: int
    ids: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", {word: index for index, word in enumerate(self.vocabulary)})

    def encode(self, text: str) -> list[int]:
        """The ids of the words of *text*; words that the model does not know are all one."""
        return [self.ids.get(word, self.ids.get(UNKNOWN, -1)) for word in text.split()]

    def next_logprobs(self, history: Sequence[int]) -> list[float]:
        """The logarithm of each word's probability after *history*.

        p(w|h) is what the table has for h and w, else backoff(h) p(w|h'), where h' is h without its first word.
        """
        first = self.logprobs[()]
        found = [first.get(word, -math.inf) for word in range(len(self.vocabulary))]
        for length in range(1, min(self.order - 1, len(history)) + 1):
            context = tuple(history[len(history) - length :])
            backoff = self.backoffs.get(context, 0.0)
            if backoff:
                found = [logprob + backoff for logprob in found]
            for word, logprob in self.logprobs.get(context, {}).items():
                found[word] = logprob
        return found
