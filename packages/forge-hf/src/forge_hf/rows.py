"""What both ways to compute have in common: many rows at once, and one at a time."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from llamaforge.engine import BatchEntry
from llamaforge.errors import GenerationError

from .devices import empty_cache

Found = Tensor | GenerationError | None
"""The logits of an entry's last ``1 + draft`` tokens, if it wants a token chosen; or an error."""


class Rows(Protocol):
    """Texts that the model is at work on, each in a slot."""

    can_trim: bool
    can_copy: bool

    def compute(self, entries: Sequence[BatchEntry[Any]]) -> list[Found]:
        """Compute the entries. Raises OutOfRoomError or InterruptedStepError."""

    def trim(self, slot: int, length: int) -> int:
        """As :meth:`llamaforge.engine.Engine.trim`."""

    def copy(self, source: int, target: int, length: int) -> int:
        """As :meth:`llamaforge.engine.Engine.copy`."""

    def interrupt(self, wanted: bool) -> None:
        """As :meth:`llamaforge.engine.Engine.interrupt`."""

    def tensors(self) -> list[Tensor]:
        """What holds keys and values now. Any thread may ask."""

    def wipe(self, slot: int) -> None:
        """What *slot* holds is no numbers: see that it spoils nothing else."""


def give_back(error: BaseException) -> None:
    """Free what a computation had allocated until it ran out of memory: the frames of its traceback hold it."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()
    empty_cache()


def no_memory(device: torch.device, tokens: int, error: BaseException) -> GenerationError:
    """What to tell where a text of so many *tokens* alone is too much."""
    made = GenerationError(
        f"The device {device} has too little memory for this answer ({tokens} tokens). Shorten the prompt, lower "
        "max_tokens, or load the model with a smaller n_ctx, n_batch or dtype, or quantized."
    )
    made.__cause__ = error
    return made
