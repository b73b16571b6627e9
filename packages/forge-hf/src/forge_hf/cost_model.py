"""Which rows go through the model together, and which through attention. Pure: numbers in, numbers out.

The rows of one forward pass are padded to the same number of new tokens, and one call of attention runs over as many
keys as the longest row has. So one pass for all is best where rows are alike, and several where the padding would cost
more than reading the model's weights once more. Where attention can be computed in parts, lengths cost no pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepCost:
    """What padding costs, where reading the weights once costs 1."""

    token: float
    """Computing one token more."""
    key: float
    """Attending to one key more; 0 where attention is computed in parts."""


@dataclass(frozen=True, slots=True)
class AttentionCost:
    """What a part of the attention costs, beside what it reads."""

    call: float
    """What one call more costs, in keys of one row that could be read meanwhile."""
    heads: int
    """Heads that share no keys: each of a row's is a thread's work, and all wait for the last one."""
    threads: int
    """Threads that share the work."""

    def cost(self, rows: int, longest: int) -> float:
        """What a part of so many rows costs, in keys of one row."""
        turns = -(-rows * self.heads // self.threads)
        return self.call + turns * self.threads / self.heads * longest


def split(rows: Sequence[tuple[int, int]], step_cost: StepCost) -> list[list[int]]:
    """Group *rows*, each its new tokens and its keys afterwards; the groups hold indices into *rows*.

    The fewest tokens come first, so that answers under way lead and prompts follow.
    """
    order = sorted(range(len(rows)), key=rows.__getitem__)
    groups: list[list[int]] = []
    pending = [order]
    while pending:
        group = pending.pop()
        at = _best_cut([rows[index] for index in group], step_cost)
        if at:
            pending += [group[at:], group[:at]]
        else:
            groups.append(group)
    return groups


def _best_cut(rows: Sequence[tuple[int, int]], step_cost: StepCost) -> int:
    """Where sorted *rows* are best cut in two; 0 where they are best left together."""
    best, at = _cost(rows, step_cost), 0
    for cut in range(1, len(rows)):
        if rows[cut] != rows[cut - 1]:
            cost = _cost(rows[:cut], step_cost) + _cost(rows[cut:], step_cost)
            if cost < best:
                best, at = cost, cut
    return at


def _cost(rows: Sequence[tuple[int, int]], step_cost: StepCost) -> float:
    width, keys = max(tokens for tokens, _ in rows), max(keys for _, keys in rows)
    return 1 + len(rows) * (width * step_cost.token + keys * step_cost.key)


def parts(keys: Sequence[int], attention_cost: AttentionCost) -> list[int]:
    """Cut neighbouring rows, which have so many *keys* each, where their attention costs least; the end of each part.

    Exact, by dynamic programming over the ends of the last part.
    """
    count = len(keys)
    # Two parts or more cost at least two calls and what they read: a part's cost is never below its call and its keys.
    if attention_cost.cost(count, max(keys)) <= 2 * attention_cost.call + sum(keys):
        return [count]
    least, begin = [0.0, *([float("inf")] * count)], [0] * (count + 1)
    for end in range(1, count + 1):
        longest = 0
        for start in range(end - 1, -1, -1):
            longest = max(longest, keys[start])
            cost = least[start] + attention_cost.cost(end - start, longest)
            if cost < least[end]:
                least[end], begin[end] = cost, start
    ends = [count]
    while begin[ends[-1]]:
        ends.append(begin[ends[-1]])
    return ends[::-1]
