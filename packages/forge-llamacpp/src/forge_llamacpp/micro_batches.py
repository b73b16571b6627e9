"""How a step becomes calls of ``llama_decode``: usually one, sometimes several that are faster together.

On a processor, llama.cpp's flash attention takes a call's tokens in tiles of 64 (``GGML_FA_TILE_Q``). A whole tile is
computed with every 64 cells that any one of its tokens looks at. A prompt's tile passes over the cells of other
sequences. With one token of an answer in it, it is computed with all cells of that answer, too; with 30 answers, with
nearly all that there are. A call of fewer tokens makes no tiles: each token passes over what it doesn't look at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from llama_cpp import llama_cpp as lib

from llamaforge.engine import BatchEntry

from .config import LlamaCppConfig

_TILE: Final = 64
_IN_TILES: Final = ("f16", "f32")
"""Types of cells for which there are tiles."""
_PARAMETERS_PER_CELL: Final = 13
"""What another call costs, as much as some tokens' products with the weights, grows with the parameters; what it saves,
with the cells, the embedding's length and the layers. Measured: `hatch run bench:llama-facts`."""


class MicroBatches:
    """Splits steps of a model's context.

    Args:
        model: llama.cpp's model.
        context: its context, whose cells all sequences share.
        config: the load parameters.
        splittable: whether anything may be split: the context is in main memory, and nothing but its number of cells
            limits what fits into it.
    """

    def __init__(
        self, model: lib.llama_model_p, context: lib.llama_context_p, config: LlamaCppConfig, *, splittable: bool
    ) -> None:
        types = set(config.cache_types)
        in_tiles = len(types) == 1 and types <= {*_IN_TILES} and config.flash_attn is not False
        self._splittable = splittable and in_tiles and lib.llama_n_ubatch(context) >= _TILE
        self._memory = lib.llama_get_memory(context)
        self._slots = range(lib.llama_n_seq_max(context))
        self._cells: int = lib.llama_n_ctx(context)
        a_cell = lib.llama_model_n_embd(model) * lib.llama_model_n_layer(model) * _PARAMETERS_PER_CELL
        self._worth_it: int = lib.llama_model_n_params(model) // a_cell

    def split(self, entries: Sequence[BatchEntry[Any]]) -> list[Sequence[int]]:
        """The step's calls, in order: which of *entries* each one takes, by index."""
        whole: list[Sequence[int]] = [range(len(entries))]
        total = sum(len(entry.tokens) for entry in entries)
        if not self._splittable or total < _TILE or len(entries) == 1:
            return whole
        answers: list[int] = []
        prompts: list[int] = []
        for index, entry in enumerate(entries):
            (prompts if entry.sampling is None or entry.certain > 1 else answers).append(index)
        held = sum(entries[index].start for index in answers)
        if not answers or held < self._worth_it or not self._fits(total):
            return whole
        calls = _below_a_tile(entries, answers)
        return [*calls, prompts] if prompts else calls

    def _fits(self, tokens: int) -> bool:
        """Whether there is surely room for so many. Where a step finds none, nothing of it may have been computed, or
        a sampler would choose twice; what several sequences share counts for each."""
        held: int = sum(lib.llama_memory_seq_pos_max(self._memory, slot) + 1 for slot in self._slots)
        return held + tokens <= self._cells


def _below_a_tile(entries: Sequence[BatchEntry[Any]], answers: list[int]) -> list[Sequence[int]]:
    """Calls of about the same length, each below a tile's if one answer's guesses alone don't exceed it."""
    tokens = sum(len(entries[index].tokens) for index in answers)
    fair = math.ceil(tokens / math.ceil(tokens / (_TILE - 1)))
    calls: list[Sequence[int]] = []
    call: list[int] = []
    size = 0
    for index in answers:
        count = len(entries[index].tokens)
        if call and (size >= fair or size + count >= _TILE):
            calls.append(call)
            call, size = [], 0
        call.append(index)
        size += count
    calls.append(call)
    return calls
