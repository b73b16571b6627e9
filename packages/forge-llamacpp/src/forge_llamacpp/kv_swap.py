"""Swaps the state of sequences out of the context into main memory, and back in."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llama_cpp import llama_cpp as lib

from . import log_control

if TYPE_CHECKING:
    import numpy.typing as npt

_SPARE: Final = 2
"""Buffers that are kept for the next sequence: fresh memory takes longer to come by than to fill."""


@dataclass(slots=True)
class _State:
    """Keys and values of one sequence: the first *size* bytes."""

    buffer: npt.NDArray[np.uint8]
    size: int

    @property
    def pointer(self) -> Any:
        return self.buffer.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


class KvSwap:
    """Sequences of one context that are out of it for now.

    Attention looks at each cell of the cache that is in use, also at those that it masks, so what nobody computes with
    is better elsewhere.
    """

    def __init__(self, context: lib.llama_context_p) -> None:
        self._context = context
        self._memory = lib.llama_get_memory(context)
        self._sequences: int = lib.llama_n_seq_max(context)
        self._states: dict[int, _State] = {}
        self._spare: list[npt.NDArray[np.uint8]] = []

    @property
    def nbytes(self) -> int:
        """Bytes that the sequences take, and what is kept for the next ones. Any thread may ask."""
        return sum(each.buffer.nbytes for each in list(self._states.values())) + sum(
            each.nbytes for each in list(self._spare)
        )

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._states

    def move_out(self, sequence: int) -> bool:
        """Out of the context; False, and it stays there, where there is no memory, or llama.cpp can't."""
        size = lib.llama_state_seq_get_size(self._context, sequence)
        if not size:
            return False
        try:
            state = _State(self._buffer(size), size)
        except MemoryError:
            return False
        if lib.llama_state_seq_get_data(self._context, state.pointer, size, sequence) != size:
            self._recycle(state)
            return False
        lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        self._states[sequence] = state
        return True

    def move_in(self, sequence: int) -> bool:
        """Back into the context; False where that has no room, and then *sequence* is empty."""
        state = self._states.pop(sequence)
        found = self._restore(state, sequence)
        self._recycle(state)
        return found

    def copy(self, source: int, target: int) -> bool:
        """Let the empty sequence *target* hold it, too; False, and it stays empty, where the context has no room."""
        return self._restore(self._states[source], target)

    def drop(self, sequence: int) -> None:
        """Forget it."""
        self._recycle(self._states.pop(sequence))

    def wipe_unused(self) -> bool:
        """Fill the cells that no sequence uses with zeros: all sequences go out and come back. False where one didn't
        come back, and then it is empty."""
        used = [slot for slot in range(self._sequences) if lib.llama_memory_seq_pos_max(self._memory, slot) >= 0]
        moved = [sequence for sequence in used if self.move_out(sequence)]
        if len(moved) == len(used):
            lib.llama_memory_clear(self._memory, True)
        back = [self.move_in(sequence) for sequence in moved]
        return all(back)

    def clear(self) -> None:
        """Give all memory back."""
        self._states.clear()
        self._spare.clear()

    def _restore(self, state: _State, sequence: int) -> bool:
        with log_control.troubles(quiet=True):
            read = lib.llama_state_seq_set_data(self._context, state.pointer, state.size, sequence)
        if read == state.size:
            return True
        lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return False

    def _buffer(self, size: int) -> npt.NDArray[np.uint8]:
        fitting = [index for index, buffer in enumerate(self._spare) if size <= buffer.size]
        if fitting:
            return self._spare.pop(min(fitting, key=lambda index: self._spare[index].size))
        # A power of two serves more sequences later; what is not written to takes no memory.
        return np.empty(1 << (size - 1).bit_length(), np.uint8)

    def _recycle(self, state: _State) -> None:
        self._spare.append(state.buffer)
        del self._spare[:-_SPARE]
