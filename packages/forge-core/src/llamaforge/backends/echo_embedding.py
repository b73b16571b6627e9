"""The echo backend's vectors and scores: which words a text has. Also a complete embedding engine to read."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal

from ..engine import EmbeddingEngine, InterruptedStepError, TokenizedText

_DIMENSIONS: Final = 256


class EchoEmbeddingEngine(EmbeddingEngine):
    """Each word adds to, or takes from, one component of the vector; a score says how many words of the query are in
    the document. So texts with the same words are alike, the same in every process.

    Args:
        tokenize: makes a number of each word of a text.
        n_ctx, n_batch: the most tokens of a text, and of a computation.
        delay: seconds that each computation takes.
        task: whether it makes vectors or scores.
        prompts: more of them, by name.
    """

    def __init__(
        self,
        tokenize: Callable[[str], list[int]],
        *,
        n_ctx: int,
        n_batch: int,
        delay: float,
        task: Literal["embed", "rerank"],
        prompts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.prompts = {"query": "query: ", "document": "document: ", **prompts}
        self.n_ctx, self.n_batch, self.task = n_ctx, n_batch, task
        self.dimensions = _DIMENSIONS if task == "embed" else 1
        self._tokenize = tokenize
        self._delay = delay
        self._interrupted = threading.Event()

    def tokenize(self, text: str) -> TokenizedText:
        """A number for each word."""
        return TokenizedText(self._tokenize(text))

    def tokenize_pair(self, query: str, document: str) -> TokenizedText:
        """The words of both, and which are whose."""
        first, second = self._tokenize(query), self._tokenize(document)
        return TokenizedText(first + second, [0] * len(first) + [1] * len(second))

    def truncate(self, text: TokenizedText, length: int) -> TokenizedText:
        """No special token ends a text."""
        types = text.token_types
        return TokenizedText(text.token_ids[:length], None if types is None else types[:length])

    def interrupt(self, wanted: bool) -> None:
        """Wake the computation."""
        if wanted:
            self._interrupted.set()
        else:
            self._interrupted.clear()

    def compute(self, texts: Sequence[TokenizedText]) -> array[float]:
        """Look at the words."""
        if self._delay and self._interrupted.wait(self._delay):
            raise InterruptedStepError
        make = _vector if self.task == "embed" else _logit
        return array("f", [component for text in texts for component in make(text)])


def _vector(text: TokenizedText) -> list[float]:
    vector = [0.0] * _DIMENSIONS
    for token in text.token_ids:
        vector[token % _DIMENSIONS] += 1 if token & _DIMENSIONS else -1
    if not any(vector):  # its words cancel each other out
        vector[len(text) % _DIMENSIONS] = 1.0
    return vector


def _logit(text: TokenizedText) -> list[float]:
    words: tuple[set[int], set[int]] = set(), set()
    for token, kind in zip(text.token_ids, text.token_types or (), strict=True):
        words[kind].add(token)
    query, document = words
    return [8 * len(query & document) / max(1, len(query)) - 4]
