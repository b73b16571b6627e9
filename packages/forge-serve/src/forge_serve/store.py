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
    """Keeps responses, as JSON: as objects they would take several times as much, and nobody could say how much.

    Args:
        limit: bytes that all of them may take.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[str, tuple[Kept | bytes, int]] = OrderedDict()
        """Those that are still being computed as objects."""
        self._taken = 0

    def put(self, kept: Kept) -> None:
        """Keep a response, in the place of one with the same id. One that is larger than the whole store isn't."""
        name = kept.response["id"]
        self.drop(name)
        content = msgspec.json.encode((kept.response, kept.input_items, kept.items))
        if len(content) > self.limit:
            return
        if kept.task is None:  # a copy, since the encoder's own has room for more behind it
            self._kept[name] = bytes(memoryview(content)), len(content)
        else:
            self._kept[name] = kept, len(content)
        self._taken += len(content)
        while self._taken > self.limit:
            oldest = next((each for each, (other, _) in self._kept.items() if isinstance(other, bytes)), None)
            if oldest is None:
                return  # all are still being computed
            self.drop(oldest)

    def get(self, name: str) -> Kept | None:
        """A response; it is the last to go now."""
        if name not in self._kept:
            return None
        self._kept.move_to_end(name)
        kept, _ = self._kept[name]
        return Kept(*msgspec.json.decode(kept)) if isinstance(kept, bytes) else kept

    def drop(self, name: str) -> None:
        """Forget a response, if there is one of that id."""
        _, size = self._kept.pop(name, (None, 0))
        self._taken -= size

    def __len__(self) -> int:
        return len(self._kept)
