"""Responses that a later request can go on from: in memory, bounded, the oldest use goes first."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass
class Kept:
    """A stored response."""

    response: dict[str, Any]
    """As clients see it."""
    input_items: list[dict[str, Any]]
    """The items of its own request."""
    items: list[dict[str, Any]]
    """The whole conversation: earlier items, input and output."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)
    """What computes it in the background."""


class Store:
    """Keeps responses.

    Args:
        limit: bytes that all of them may take, as JSON.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[str, tuple[Kept, int]] = OrderedDict()
        self._taken = 0

    def put(self, kept: Kept) -> None:
        """Keep a response, in the place of one with the same id. One that is larger than the whole store isn't."""
        name = kept.response["id"]
        self.drop(name)
        size = len(msgspec.json.encode((kept.response, kept.items)))
        if size > self.limit:
            return
        self._kept[name] = kept, size
        self._taken += size
        while self._taken > self.limit:
            oldest = next((each for each, (other, _) in self._kept.items() if other.task is None), None)
            if oldest is None:
                return  # all are still being computed
            self.drop(oldest)

    def get(self, name: str) -> Kept | None:
        """A response; it is the last to go now."""
        if name not in self._kept:
            return None
        self._kept.move_to_end(name)
        return self._kept[name][0]

    def drop(self, name: str) -> Kept | None:
        """Forget a response; None if there is none."""
        kept, size = self._kept.pop(name, (None, 0))
        self._taken -= size
        return kept

    def __len__(self) -> int:
        return len(self._kept)
