"""Many rows in one forward pass, each as long as its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from llamaforge.engine import BatchEntry, OutOfRoomError

from .attention import in_parts
from .cost_model import AttentionCost, StepCost, parts, split
from .errors import is_out_of_memory
from .forward import Forward
from .rows import Found, give_back, no_memory
from .slot_cache import Pass, SlotCache

_TOKENS_PER_WEIGHTS = {"cpu": 32}
_TOKENS_PER_WEIGHTS_ELSEWHERE = 256
"""Tokens that a forward pass computes in the time that it takes to read the weights. A CPU is soon busy computing."""
_BYTES_PER_CALL = 2**17
"""Keys and values that a processor reads in the time that a call of attention takes by itself."""


class BatchedRows:
    """Runs a model whose attention takes masks over a :class:`.slot_cache.SlotCache`.

    Args:
        forward: the model.
        cache: where keys and values are kept.
        windows: for each kind of layer, as the model's config names it, how many of the last tokens it looks at; None:
            all. One kind alone needs no name.

    Attributes:
        attention_cost: how attention is cut, where the model has :func:`.attention.attend`; None: it has another.
    """

    can_trim = True
    can_copy = True

    def __init__(self, forward: Forward, cache: SlotCache, windows: Mapping[str, int | None]) -> None:
        self._forward = forward
        self._cache = cache
        self._windows = windows
        self.attention_cost: AttentionCost | None = None
        self._dtype: torch.dtype = forward.model.dtype
        self._weights = sum(weight.numel() * weight.element_size() for weight in forward.model.parameters())

    def compute(self, entries: Sequence[BatchEntry[Any]]) -> list[Found]:
        """Compute the entries, those that are alike in one forward pass."""
        groups = split([(len(entry.tokens), entry.start + len(entry.tokens)) for entry in entries], self._prices())
        longest = max(entry.start + len(entry.tokens) for entry in entries)
        found: list[Found] = [None] * len(entries)
        try:
            self._cache.arrange([[entries[index].slot for index in group] for group in groups], longest)
            for group in groups:
                group.sort(key=lambda index: self._cache.row(entries[index].slot))
                logits = self._compute([entries[index] for index in group])
                for row, index in enumerate(group):
                    if entries[index].sampling is not None:
                        found[index] = logits[row, logits.shape[1] - 1 - entries[index].draft :]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            give_back(error)
            if len({*self._cache.held, *(entry.slot for entry in entries)}) > 1:
                raise OutOfRoomError from error
            return [no_memory(self._forward.device, longest, error)]
        return found

    def trim(self, slot: int, length: int) -> int:
        """Anywhere, at no cost."""
        self._cache.trim(slot, length)
        return length

    def copy(self, source: int, target: int, length: int) -> int:
        """Copy, if there is memory for it."""
        try:
            self._cache.copy(source, target, length)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return 0
        return length

    def interrupt(self, wanted: bool) -> None:
        """The pass ends at the next layer."""
        self._cache.interrupted = wanted

    def tensors(self) -> list[Tensor]:
        """Those of the rows, and of texts that are in no row."""
        return self._cache.all_tensors()

    def wipe(self, slot: int) -> None:
        """Masked keys are still multiplied by 0, and 0 times a NaN is one."""
        self._cache.wipe(slot)

    def parting_here(self) -> AttentionCost:
        """What cutting costs with this model on a processor; known after the first pass."""
        return AttentionCost(_BYTES_PER_CALL / self._cache.bytes_per_key, self._cache.heads, torch.get_num_threads())

    def _prices(self) -> StepCost:
        device = self._forward.device.type
        return StepCost(
            token=1 / _TOKENS_PER_WEIGHTS.get(device, _TOKENS_PER_WEIGHTS_ELSEWHERE),
            key=self._cache.bytes_per_token / self._weights
            if self._cache.capacity and self.attention_cost is None
            else 0.0,
        )

    def _compute(self, entries: Sequence[BatchEntry[Any]]) -> Tensor:
        """One forward pass over entries that are in neighbouring rows, in that order."""
        starts, counts = [entry.start for entry in entries], [len(entry.tokens) for entry in entries]
        now = self._cache.begin([entry.slot for entry in entries], starts, counts)
        width, device = now.width, self._forward.device
        padded = [[0] * (width - len(entry.tokens)) + list(entry.tokens) for entry in entries]
        first = torch.tensor(starts) - width + torch.tensor(counts)
        positions = (first[:, None] + torch.arange(width)).clamp_(min=0).to(device)
        more: dict[str, Any] = {"position_ids": positions}
        masks = self._masks(now, positions)
        if masks is not None:
            more["attention_mask"] = masks
        ends = parts(now.ends, self.attention_cost) if self.attention_cost else [len(entries)]
        with in_parts(ends, now.ends):
            logits, _ = self._forward(
                torch.tensor(padded, device=device), self._cache, 1 + max(entry.draft for entry in entries), **more
            )
        for entry in entries:
            self._cache.end(entry.slot, entry.start + len(entry.tokens))
        return logits

    def _masks(self, now: Pass, positions: Tensor) -> Tensor | dict[str, Tensor] | None:
        """What each new token may look at; None where the model knows by itself, and computes no slower for it.

        It knows where no row holds anything yet, and for one token of one row. Without a mask transformers leaves it to
        torch that several heads share keys, and on a processor torch then reads these once for each of them.
        """
        alone = now.width == 1 and len(now.starts) == 1 and self._forward.device.type != "cpu"
        if now.is_even and (now.starts[0] == 0 or alone):
            return None
        masks = {kind: self._mask(now, positions, window) for kind, window in self._windows.items()}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, now: Pass, positions: Tensor, window: int | None) -> Tensor:
        keys = torch.arange(now.first_key(window), now.keys, device=positions.device)
        hidden = keys > positions[..., None]
        if window is not None:
            hidden |= keys <= positions[..., None] - window
        mask = torch.zeros(hidden.shape, dtype=self._dtype, device=positions.device)
        return mask.masked_fill_(hidden, torch.finfo(self._dtype).min).unsqueeze(1)
