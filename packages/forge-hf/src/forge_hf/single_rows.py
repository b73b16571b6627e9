"""One row at a time, each with a cache of the model's own kind: for models whose cache can't be shared."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from llamaforge.engine import BatchEntry, InterruptedStepError

from .errors import is_out_of_memory
from .forward import Forward
from .rows import Found, give_back, no_memory


class _Text:
    """What one slot holds."""

    def __init__(self) -> None:
        self.cache: Any = None
        self.length = 0
        self.waiting: list[int] = []
        """Tokens of a prompt that are computed with the rest of it."""


class SingleRows:
    """A forward pass for each entry.

    Args:
        forward: the model.
        can_trim: whether the model's cache can be cut.
        in_pieces: whether a prompt may come in several pieces. Where it may not, it is computed once it is whole, and
            what comes after it token by token.
    """

    can_copy = True

    def __init__(self, forward: Forward, *, can_trim: bool, in_pieces: bool) -> None:
        self._forward = forward
        self.can_trim = can_trim
        self._in_pieces = in_pieces
        self._texts: dict[int, _Text] = {}
        self._interrupted = False

    def compute(self, entries: Sequence[BatchEntry[Any]]) -> list[Found]:
        """Compute the entries, one after the other.

        One that finds no memory fails alone: what its cache holds then is unknown, so it can't be tried again.
        """
        return [self._compute(entry) for entry in entries]

    def trim(self, slot: int, length: int) -> int:
        """Cut the cache, if it can be cut."""
        text = self._texts.get(slot)
        if text is not None and length:
            if length == text.length + len(text.waiting):
                return length
            if self.can_trim and not text.waiting:
                text.cache.crop(length - text.length)
                text.length = length
                return length
        self._texts.pop(slot, None)
        return 0

    def copy(self, source: int, target: int, length: int) -> int:
        """Copy the cache whole, and cut it."""
        text = self._texts[source]
        if length != text.length + len(text.waiting) and not self.can_trim:
            return 0
        try:
            self._texts[target] = copy.deepcopy(text)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return 0
        return self.trim(target, length)

    def interrupt(self, wanted: bool) -> None:
        """The step ends after the pass that is under way."""
        self._interrupted = wanted

    def tensors(self) -> list[Tensor]:
        """Those of each text's cache."""
        return [tensor for text in list(self._texts.values()) for tensor in _tensors_of(text.cache)]

    def wipe(self, slot: int) -> None:
        """Its cache is its own."""

    def _compute(self, entry: BatchEntry[Any]) -> Found:
        text = self._texts.setdefault(entry.slot, _Text())
        tokens = [*text.waiting, *entry.tokens]
        if entry.sampling is None and not self._in_pieces:
            text.waiting = tokens
            return None
        size = 1 if text.length and not self._in_pieces else len(tokens)
        logits: Tensor | None = None
        try:
            for start in range(0, len(tokens), size):
                if self._interrupted:
                    raise InterruptedStepError
                batch = torch.tensor([tokens[start : start + size]], device=self._forward.device)
                logits, text.cache = self._forward(batch, text.cache, 1 + entry.draft)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            give_back(error)
            return no_memory(self._forward.device, text.length + len(tokens), error)
        text.length, text.waiting = text.length + len(tokens), []
        return logits[0] if logits is not None and entry.sampling is not None else None


def _tensors_of(cache: Any) -> list[Tensor]:
    """The tensors in a cache of any kind: in its layers, or in lists and mappings of its own."""
    parts = getattr(cache, "layers", None) or [cache]
    found: list[Tensor] = []
    for part in parts:
        for value in list(vars(part).values()) if hasattr(part, "__dict__") else []:
            inner = list(value.values()) if isinstance(value, dict) else value
            found.extend(
                each for each in (inner if isinstance(inner, list | tuple) else [inner]) if torch.is_tensor(each)
            )
    return found
