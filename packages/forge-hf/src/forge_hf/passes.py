"""Which rows go through the model together. Pure: numbers in, numbers out.

The rows of one forward pass are padded to the same number of new tokens, and attention runs over as many keys as the
longest row has. So one pass for all is best where rows are alike, and several where the padding would cost more than
reading the model's weights once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prices:
    """What padding costs, where reading the weights once costs 1."""

    token: float
    """Computing one token more."""
    key: float
    """Attending to one key more."""


def split(rows: Sequence[tuple[int, int]], prices: Prices) -> list[list[int]]:
    """Group *rows*, each its new tokens and its keys afterwards; the groups hold indices into *rows*.

    The fewest tokens come first, so that answers under way lead and prompts follow.
    """
    order = sorted(range(len(rows)), key=rows.__getitem__)
    groups: list[list[int]] = []
    pending = [order]
    while pending:
        group = pending.pop()
        at = _best_cut([rows[index] for index in group], prices)
        if at:
            pending += [group[at:], group[:at]]
        else:
            groups.append(group)
    return groups


def _best_cut(rows: Sequence[tuple[int, int]], prices: Prices) -> int:
    """Where sorted *rows* are best cut in two; 0 where they are best left together."""
    best, at = _cost(rows, prices), 0
    for cut in range(1, len(rows)):
        if rows[cut] != rows[cut - 1]:
            cost = _cost(rows[:cut], prices) + _cost(rows[cut:], prices)
            if cost < best:
                best, at = cost, cut
    return at


def _cost(rows: Sequence[tuple[int, int]], prices: Prices) -> float:
    width, keys = max(tokens for tokens, _ in rows), max(keys for _, keys in rows)
    return 1 + len(rows) * (width * prices.token + keys * prices.key)
