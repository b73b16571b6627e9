"""Where memory runs out while rows are moved together, every text is as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from forge_hf.slot_cache import SlotCache

pytestmark = pytest.mark.engine

LAYERS = 3
TEXTS = {0: [1.0, 2.0, 3.0], 1: [4.0, 5.0], 2: [6.0, 7.0, 8.0, 9.0]}


class Scarce(TorchDispatchMode):
    """Memory for *room* more copies and new tensors."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten.clone.default, torch.ops.aten.new_zeros.default):
            self.room -= 1
            if self.room < 0:
                raise torch.OutOfMemoryError
        return function(*args, **(kwargs or {}))


def write(cache: SlotCache, slots: list[int], new: list[list[float]]) -> list[list[list[float]]]:
    """A pass that gives each slot its *new* tokens; for each layer what each slot holds then."""
    order = sorted(range(len(slots)), key=lambda index: cache.row(slots[index]))
    starts = [cache.length(slots[index]) for index in order]
    now = cache.begin([slots[index] for index in order], starts, [len(new[index]) for index in order])
    keys = torch.tensor([[0.0] * (now.width - len(new[index])) + new[index] for index in order])[:, None, :, None]
    shown = [layer.update(keys, keys)[0] for layer in cache.layers]
    lengths = {}
    for index, start in zip(order, starts, strict=True):
        lengths[slots[index]] = start + len(new[index])
        cache.end(slots[index], lengths[slots[index]])
    places = [order.index(index) for index in range(len(slots))]
    return [
        [each[source, 0, : lengths[slot], 0].tolist() for slot, source in zip(slots, places, strict=True)]
        for each in shown
    ]


@pytest.mark.parametrize("room", range(2 * LAYERS + 2))
@pytest.mark.parametrize("wanted", [[[1]], [[2]], [[2], [0]], [[3, 2]], [[1, 3], [2]]], ids=str)
def test_texts_that_were_to_be_moved_are_as_they_were(wanted: list[list[int]], room: int) -> None:
    cache = SlotCache([None] * LAYERS, 400)
    cache.arrange([[0, 1, 2]], 4)
    write(cache, [0, 1, 2], list(TEXTS.values()))
    try:
        with Scarce(room):
            cache.arrange(wanted, 5)
    except torch.OutOfMemoryError:
        cache.trim(3, 0)  # it held nothing yet
    cache.arrange([[0, 1, 2]], 5)
    assert write(cache, [0, 1, 2], [[10.0]] * 3) == [[[*text, 10.0] for text in TEXTS.values()]] * LAYERS
