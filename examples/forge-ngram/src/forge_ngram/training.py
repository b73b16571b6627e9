"""A model estimated from a text.

Witten-Bell smoothing, interpolated: p(w|h) = (c(hw) + t(h) p(w|h')) / (c(h) + t(h)), where c counts, t(h) is how many
different words follow h, and h' is h without its first word; below the 1-grams all words are equally probable. For a
word that never followed h that is p(w|h') with the back-off weight t(h) / (c(h) + t(h)), which an ARPA file can hold.

I. Witten and T. Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37(4), 1991, method C; in
this form in S. Chen and J. Goodman, "An empirical study of smoothing techniques for language modeling", 1998.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from .model import BEGIN, END, UNKNOWN, NgramModel

Context = tuple[int, ...]


class NoWordsError(ValueError):
    """The text has no words."""


def train(lines: Iterable[str], order: int) -> NgramModel:
    """A model of n-grams up to *order* words. Each of *lines* is a sentence of its own. Raises NoWordsError."""
    ids = {UNKNOWN: 0, BEGIN: 1, END: 2}
    counts: defaultdict[Context, Counter[int]] = defaultdict(Counter)
    for line in lines:
        words = [word for word in line.split() if word not in (UNKNOWN, BEGIN, END)]
        if not words:
            continue
        sentence = [ids[BEGIN], *(ids.setdefault(word, len(ids)) for word in words), ids[END]]
        for end in range(1, len(sentence)):
            for start in range(max(0, end - order + 1), end + 1):
                counts[tuple(sentence[start:end])][sentence[end]] += 1
    if not counts:
        raise NoWordsError("There are no words in this text.")
    probabilities: dict[Context, dict[int, float]] = {}
    weights: dict[Context, float] = {}
    for context in sorted(counts, key=len):  # each needs the shorter ones
        followers = counts[context]
        total = followers.total() + len(followers)
        weights[context] = len(followers) / total
        shorter = probabilities.get(context[1:]) if context else None
        lower = {word: shorter[word] if shorter else 1 / (len(ids) - 1) for word in followers}
        probabilities[context] = {
            word: (count + len(followers) * lower[word]) / total for word, count in followers.items()
        }
    probabilities[()] |= {ids[UNKNOWN]: weights.pop(()) / (len(ids) - 1)}
    logprobs = {context: {w: math.log(p) for w, p in found.items()} for context, found in probabilities.items()}
    logprobs[()][ids[BEGIN]] = -math.inf
    return NgramModel(list(ids), logprobs, {context: math.log(weight) for context, weight in weights.items()}, order)
