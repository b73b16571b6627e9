"""Keys and values of many texts at once, each text in a row of its own.

transformers' own caches keep the rows of a batch together: they grow by copying everything, and a row can neither join
nor leave. Here every layer has one tensor, [rows, heads, capacity, width], in which each row is as long as its text. A
forward pass works on neighbouring rows, in source; so rows are moved together before it, which copies something only
when a text joins or leaves. A text that nobody works on may lose its row to another one: it is then *parked*, in
tensors of its own size.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from llamaforge.engine import InterruptedStepError

from .memory import zeros

_SMALLEST = 128
"""Tokens that a row has room for at first."""


@dataclass
class Pass:
    """What the forward pass that is under way writes, and where. Rows of unlike lengths have their padding in front."""

    first: int
    """Its first row."""
    starts: list[int]
    """Tokens that each row holds before."""
    counts: list[int]
    """Tokens that each row gets."""
    scratch: int
    """The position where the keys of padding go."""
    _tensors: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Tokens of each row, padding included."""
        return max(self.counts)

    @functools.cached_property
    def ends(self) -> list[int]:
        """Keys of each row afterwards."""
        return [start + count for start, count in zip(self.starts, self.counts, strict=True)]

    @functools.cached_property
    def keys(self) -> int:
        """Keys of the longest row afterwards."""
        return max(self.ends)

    @property
    def is_even(self) -> bool:
        """Whether all rows are written at the same positions."""
        return len(set(self.starts)) == 1 and len(set(self.counts)) == 1

    def first_key(self, window: int | None) -> int:
        """The first key that any row still looks at."""
        if window is None:
            return 0
        return max(0, min(self.starts) - window + 1)

    def where(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Row and position of each new token, [rows, 1] and [rows, width]."""
        if device not in self._tensors:
            width = self.width
            positions = [
                [self.scratch] * (width - count) + list(range(start, start + count))
                for start, count in zip(self.starts, self.counts, strict=True)
            ]
            rows = torch.arange(self.first, self.first + len(self.starts), device=device)[:, None]
            self._tensors[device] = rows, torch.tensor(positions, device=device)
        return self._tensors[device]


class SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call] # transformers has no types
    """One layer's keys and values.

    Args:
        cache: the cache that it belongs to.
        window: how many of the last tokens the layer looks at; None: all.
    """

    def __init__(self, cache: SlotCache, window: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_sliding = window is not None
        self.window = window
        self.tensors: list[Tensor] = []
        """Keys and values, once their shape is known."""
        self._cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Learn shape, type and device from what the model computes."""
        rows, capacity = self._cache.rows, self._cache.capacity
        # Zeros, since what is masked is still multiplied by 0, and 0 times a NaN is one.
        self.tensors = [
            zeros((rows, states.shape[1], capacity + 1, states.shape[3]), states)
            for states in (key_states, value_states)
        ]
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write the new keys and values; all that the rows of this pass may look at."""
        if self._cache.interrupted:
            raise InterruptedStepError
        now = self._cache.current
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows = slice(now.first, now.first + len(now.starts))
        seen = slice(now.first_key(self.window), now.keys)
        shown = []
        for held, new in zip(self.tensors, (key_states, value_states), strict=True):
            if now.is_even:
                held[rows, :, now.starts[0] : now.keys] = new
            else:
                held.transpose(1, 2)[now.where(held.device)] = new.transpose(1, 2)
            shown.append(held[rows, :, seen])
        return shown[0], shown[1]

    def get_mask_sizes(self, *_: object) -> tuple[int, int]:
        """Keys that a pass sees, and the position of the first one."""
        now = self._cache.current
        first = now.first_key(self.window)
        return now.keys - first, first

    def get_seq_length(self) -> int:
        """Tokens before those of the pass; rows that differ bring positions and masks of their own."""
        return max(self._cache.current.starts)

    def get_max_length(self) -> int:
        """It grows as needed."""
        return -1

    get_max_cache_shape = get_max_length
    """Its name in older versions of transformers."""

    def resize(self, rows: int, capacity: int, lengths: Sequence[int]) -> None:
        """Make it [rows, capacity]; the rows keep their first *lengths* tokens."""
        for index, old in enumerate(self.tensors):
            new = zeros((rows, old.shape[1], capacity + 1, old.shape[3]), old)
            for row, length in enumerate(lengths):
                if length:
                    new[row, :, :length] = old[row, :, :length]
            self.tensors[index] = new


Parked = list[Tensor]
"""The keys and values of one text, [heads, tokens, width], in the order of :attr:`SlotCache._tensors`."""


class SlotCache(Cache):
    """The cache of all slots, as the model sees it during a pass.

    Args:
        layers: for each layer of the model its window (an int; None: it looks at all tokens), or a layer to use as it
            is.
        most: tokens that one row may have.

    Attributes:
        rows, capacity: how many rows there are, and how many tokens each has room for.
        interrupted: set by any thread to break off the pass that is under way.
    """

    def __init__(self, layers: Sequence[Any], most: int) -> None:
        super().__init__(
            layers=[SlotLayer(self, each) if each is None or isinstance(each, int) else each for each in layers]
        )
        self.rows = self.capacity = 0
        self.interrupted = False
        self.current: Pass
        self._most = most
        self._own = [layer for layer in self.layers if isinstance(layer, SlotLayer)]
        self._at: list[int | None] = []  # which slot is in a row
        self._row: dict[int, int] = {}
        self._parked: dict[int, Parked] = {}
        self._length: dict[int, int] = {}

    @property
    def held(self) -> set[int]:
        """Slots that hold something."""
        return set(self._length)

    @functools.cached_property
    def bytes_per_token(self) -> int:
        """Memory that one token of one row takes; known after the first pass."""
        return sum(held.shape[1] * held.shape[3] * held.element_size() for held in self._tensors)

    @functools.cached_property
    def heads(self) -> int:
        """Heads that a layer's keys have; known after the first pass."""
        return min(held.shape[1] for held in self._tensors)

    @property
    def bytes_per_key(self) -> float:
        """What one layer has of :attr:`bytes_per_token`."""
        return self.bytes_per_token / len(self._own)

    def length(self, slot: int) -> int:
        """Tokens that *slot* holds."""
        return self._length.get(slot, 0)

    def begin(self, slots: Sequence[int], starts: Sequence[int], counts: Sequence[int]) -> Pass:
        """Make the pass of these *slots*, in the order of their rows, the current one."""
        self.current = Pass(self._row[slots[0]], list(starts), list(counts), self.capacity)
        return self.current

    def row(self, slot: int) -> int:
        """The row that *slot* is in."""
        return self._row[slot]

    def end(self, slot: int, length: int) -> None:
        """*slot* holds *length* tokens now."""
        self._length[slot] = length

    def arrange(self, groups: Sequence[Sequence[int]], keys: int) -> None:
        """Put the slots of each group into neighbouring rows, the first group from row 0 on, with room for *keys*.

        Where memory runs out, what the slots hold is as it was.
        """
        wanted = sum(map(len, groups))
        self._fit(wanted, keys)
        first = 0
        for group in groups:
            rows = range(first, first + len(group))
            members = set(group)
            holes = [row for row in rows if self._at[row] not in members]
            comers = [slot for slot in group if self._row.get(slot, -1) not in rows]
            for slot, row in zip(comers, holes, strict=True):
                self._put(slot, row)
            first += len(group)

    def trim(self, slot: int, length: int) -> None:
        """Let *slot* keep its first *length* tokens; with 0 it gives up its row or its own tensors."""
        if length:
            self._length[slot] = length
            return
        self._length.pop(slot, None)
        self._parked.pop(slot, None)
        row = self._row.pop(slot, None)
        if row is not None:
            self._at[row] = None

    def copy(self, source: int, target: int, length: int) -> None:
        """Let the empty slot *target* hold the first *length* tokens of *source*, too."""
        self._parked[target] = self._take_out(source, length)
        self._length[target] = length

    def wipe(self, slot: int) -> None:
        """Overwrite the contents of *slot*: NaN there would spoil the next request in it."""
        row = self._row.get(slot)
        if row is not None:
            for held in self._tensors:
                held[row].zero_()

    def _fit(self, rows: int, keys: int) -> None:
        """Have *rows* rows with room for *keys* tokens, and not many times as much."""
        new_rows, new_capacity = self.rows, self.capacity
        if rows > self.rows:
            new_rows = max(rows, min(2 * self.rows, rows + 4))
        elif 4 * rows <= self.rows:
            new_rows = 2 * rows
        if keys > self.capacity:
            new_capacity = max(keys, min(max(2 * self.capacity, _SMALLEST), self._most))
        elif 4 * max(keys, _SMALLEST) <= self.capacity:
            new_capacity = 2 * max(keys, _SMALLEST)
        if (new_rows, new_capacity) == (self.rows, self.capacity):
            return
        for row, slot in enumerate(self._at):
            if slot is not None and (row >= new_rows or self.length(slot) > new_capacity):
                self._park(slot)
        lengths = [0 if slot is None else self.length(slot) for slot in self._at[:new_rows]]
        # Layer by layer, so that there are never two of all. Where memory runs out amid it, every layer has at least
        # the smaller size.
        self.rows, self.capacity = min(new_rows, self.rows), min(new_capacity, self.capacity)
        del self._at[self.rows :]
        for layer in self._own:
            layer.resize(new_rows, new_capacity, lengths)
        self.rows, self.capacity = new_rows, new_capacity
        self._at += [None] * (new_rows - len(self._at))

    def _put(self, slot: int, row: int) -> None:
        """Bring *slot* into *row*."""
        before, other = self._row.get(slot), self._at[row]
        if other is not None and self.length(other) and before is None:
            self._park(other)
            other = None
        if before is not None:
            self._swap(before, row)
            self._at[before] = other
            if other is not None:
                self._row[other] = before
        else:
            if other is not None:
                del self._row[other]
            length = self.length(slot)
            for held, parked in zip(self._tensors, self._parked.pop(slot, []), strict=False):
                held[row, :, :length] = parked[:, :length]
        self._at[row], self._row[slot] = slot, row

    def _swap(self, one: int, other: int) -> None:
        """Let two rows change places; of a row without a text nothing is copied."""
        mover, occupant = self._at[one], self._at[other]
        first = 0 if mover is None else self.length(mover)
        second = 0 if occupant is None else self.length(occupant)
        # All of it is put aside before anything is moved: where memory runs out, both are as they were.
        aside = self._take_out(occupant, second) if occupant is not None and second else []
        for held in self._tensors:
            held[other, :, :first] = held[one, :, :first]
        for held, text in zip(self._tensors, aside, strict=False):
            held[one, :, :second] = text

    def _park(self, slot: int) -> None:
        """Take *slot* out of its row into tensors of its own."""
        taken = self._take_out(slot, self.length(slot))
        self._parked[slot] = taken
        self._at[self._row.pop(slot)] = None

    def _take_out(self, slot: int, length: int) -> Parked:
        """Copies of the first *length* tokens of *slot*."""
        row = self._row.get(slot)
        if row is None:
            return [parked[:, :length].clone() for parked in self._parked[slot]]
        return [held[row, :, :length].clone() for held in self._tensors]

    def all_tensors(self) -> list[Tensor]:
        """The tensors of all rows and of all parked texts."""
        return [*self._tensors, *(tensor for parked in list(self._parked.values()) for tensor in parked)]

    @property
    def _tensors(self) -> Iterator[Tensor]:
        return (tensor for layer in self._own for tensor in layer.tensors)
