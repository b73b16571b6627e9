"""Which tokens the engine's slots hold, so that a request starts after those that are there already."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from .interface import Engine

_WORTH_WAKING: Final = 32
"""A text that rests is copied back as a whole: not for fewer of its tokens than these, which are computed as soon."""


class Holder(Protocol):
    """A request that uses a slot."""

    tokens: list[int]
    """Its text so far: prompt and answer."""
    computed: int
    """How many of them the slot holds."""


class Slots:
    """The slots of one engine: busy, kept for their tokens, or empty.

    Where the engine lets kept slots rest, those have as many tokens together as a request may have, at most.

    Args:
        engine: the engine.
        keep: slots that may be kept for their tokens while nobody uses them.
    """

    def __init__(self, engine: Engine[Any], keep: int) -> None:
        self._engine = engine
        self._keep = keep
        self._empty = list(range(engine.n_slots - 1, -1, -1))
        self._kept: OrderedDict[int, list[int]] = OrderedDict()  # least recently used first
        self._resting: set[int] = set()  # of the kept ones, those that take no room from the others
        self._idle: list[int] = []  # kept since the last step
        self._busy: dict[int, Holder] = {}

    @property
    def busy(self) -> Mapping[int, Holder]:
        """Slots in use, and by whom."""
        return self._busy

    def take(self, holder: Holder) -> tuple[int, int]:
        """A slot for *holder*, and how many of its tokens the slot holds already.

        At least the last token is left to be computed: the next one is chosen after it.
        """
        source, shared = self._best(holder.tokens)
        if source in self._kept and self._goes_on(source, shared):
            slot, held = source, self._take_over(source, shared)
        else:
            slot = self._vacate(spare=source)
            if slot == source:  # nothing else is left
                held = self._take_over(slot, shared)
            else:
                held = min(shared, self._engine.copy(source, slot, shared)) if shared and self._engine.can_copy else 0
                if source in self._kept:
                    self._kept.move_to_end(source)
        self._busy[slot] = holder
        return slot, held

    def promised(self, tokens: Sequence[int]) -> int:
        """How many more of *tokens* a slot will hold, once its user has computed its own, than any does now."""
        if not (self._engine.can_copy and self._engine.can_trim):
            return 0  # what is shared can't be had without the rest
        limit = len(tokens) - 1
        later = max((common_prefix(tokens, holder.tokens, limit) for holder in self._busy.values()), default=0)
        return max(0, later - self._best(tokens)[1]) if later else 0

    def release(self, slot: int, *, keep: bool) -> None:
        """Its user is done with *slot*; with *keep* its tokens stay for others."""
        holder = self._busy.pop(slot)
        text = holder.tokens[: holder.computed]
        if keep and self._keep and text and not self._has(text):
            for other in [other for other, held in self._kept.items() if self._covers(text, held)]:
                self._drop(other)
            self._kept[slot] = text
            self._idle.append(slot)
            while len(self._kept) > self._keep:
                self._drop(next(iter(self._kept)))
        else:
            self._engine.trim(slot, 0)
            self._empty.append(slot)

    def settle(self) -> None:
        """Let those rest that have become idle. To be called before each step, and not as soon as they are idle: who
        goes on with a conversation at once finds it where it was."""
        if not self._idle:
            return
        while self._idle:
            slot = self._idle.pop()
            if slot in self._kept and slot not in self._resting and self._engine.swap_out(slot):
                self._resting.add(slot)
        while sum(len(self._kept[slot]) for slot in self._resting) > self._engine.n_ctx:
            self._drop(next(slot for slot in self._kept if slot in self._resting))

    def make_room(self) -> bool:
        """Empty the slot that was kept for longest in the engine's memory; False where none is."""
        oldest = next((slot for slot in self._kept if slot not in self._resting), None)
        if oldest is None:
            return False
        self._drop(oldest)
        return True

    def _has(self, text: list[int]) -> bool:
        """Whether a kept text serves for *text*, too. It counts as used then."""
        slot = next((slot for slot, held in self._kept.items() if self._covers(held, text)), None)
        if slot is not None:
            self._kept.move_to_end(slot)
        return slot is not None

    def _covers(self, text: Sequence[int], other: Sequence[int]) -> bool:
        """Whether all that can be had of *other* can be had of *text*."""
        if not (self._engine.can_trim and self._engine.can_copy):
            return text == other
        return len(other) <= len(text) and text[: len(other)] == other

    def _goes_on(self, slot: int, shared: int) -> bool:
        """Whether to take over a kept slot instead of leaving it to others: nothing, or little, of it is lost."""
        kept = len(self._kept[slot])
        return shared == kept or (not self._engine.can_copy and shared * 2 >= kept)

    def _vacate(self, spare: int) -> int:
        """An empty slot, where needs be the one that was kept for longest; *spare* last of all, and not emptied."""
        if not self._empty:
            oldest = next((slot for slot in self._kept if slot != spare), None)
            if oldest is None:
                return spare
            self._drop(oldest)
        return self._empty.pop()

    def _take_over(self, slot: int, length: int) -> int:
        """A kept slot is used again, for the first *length* of its tokens. Returns how many it holds then."""
        kept = len(self._kept.pop(slot))
        if slot in self._resting:
            self._resting.discard(slot)
            if not self._engine.swap_in(slot):
                return 0
        return length if length == kept else self._engine.trim(slot, length)

    def _drop(self, slot: int) -> None:
        self._kept.pop(slot)
        self._resting.discard(slot)
        self._engine.trim(slot, 0)
        self._empty.append(slot)

    def _best(self, tokens: Sequence[int]) -> tuple[int, int]:
        """The slot that holds the longest beginning of *tokens*, and that length; (-1, 0) where none holds any."""
        best, longest = -1, 0
        limit = len(tokens) - 1
        for slot, held, length in self._held():
            shared = common_prefix(tokens, held, min(limit, length))
            if slot in self._resting and shared < min(length, _WORTH_WAKING):
                continue
            if shared > longest and (shared == length or self._engine.can_trim):
                best, longest = slot, shared
        return best, longest

    def _held(self) -> Iterator[tuple[int, Sequence[int], int]]:
        """Slots, their tokens, and how many of those they hold. Those that rest come last: the engine has to make room
        for what is copied from them, and shares what is in its memory already."""
        for slot, tokens in self._kept.items():
            if slot not in self._resting:
                yield slot, tokens, len(tokens)
        if self._engine.can_copy:
            for slot, holder in self._busy.items():
                yield slot, holder.tokens, holder.computed
        for slot, tokens in self._kept.items():
            if slot in self._resting:
                yield slot, tokens, len(tokens)


def common_prefix(one: Sequence[int], other: Sequence[int], limit: int) -> int:
    """Length of the longest common beginning of two lists, *limit* at most. It compares slices, at C speed."""
    high = min(len(one), len(other), limit)
    if high <= 0 or one[0] != other[0]:
        return 0
    if one[:high] == other[:high]:
        return high
    low = 1  # one[:low] is common, one[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
