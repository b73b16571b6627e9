"""The tokens of one step, as llama.cpp takes them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Final

from llama_cpp import llama_cpp as lib

from llamaforge.engine import BatchEntry

_FEW: Final = 32


class Batch:
    """A ``llama_batch`` with room for *size* tokens, each of one sequence. Its arrays live as long as it does."""

    def __init__(self, size: int) -> None:
        self._tokens = (lib.llama_token * size)()
        self._positions = (lib.llama_pos * size)()
        self._slots = (lib.llama_seq_id * size)()
        self._wanted = (ctypes.c_int8 * size)()
        self._counts = (ctypes.c_int32 * size)(*[1] * size)
        width = ctypes.sizeof(lib.llama_seq_id)
        begin = ctypes.addressof(self._slots)
        pointer = ctypes.POINTER(lib.llama_seq_id)
        self._slots_of = (pointer * size)()
        ctypes.memmove(
            self._slots_of,
            (ctypes.c_void_p * size)(*range(begin, begin + size * width, width)),
            size * ctypes.sizeof(ctypes.c_void_p),
        )
        self.native: Any = lib.llama_batch(
            n_tokens=0,
            token=self._tokens,
            embd=None,
            pos=self._positions,
            n_seq_id=self._counts,
            seq_id=self._slots_of,
            logits=self._wanted,
        )

    def fill(self, entries: Sequence[BatchEntry[Any]]) -> int:
        """Take the tokens of all *entries*, one after another; logits are wanted after each last certain token and each
        guess of those with a sampling. Returns how many are wanted.

        Many are put together in lists first and copied at once, which is ten times faster than element by element; of
        a few, lists cost more.
        """
        if len(entries) <= _FEW and all(len(entry.tokens) == 1 for entry in entries):
            return self._fill_single(entries)
        tokens: list[Any] = []
        positions: list[Any] = []
        slots: list[Any] = []
        wanted = bytearray()
        for entry in entries:
            count = len(entry.tokens)
            tokens += entry.tokens
            positions += range(entry.start, entry.start + count)
            slots += [entry.slot] * count
            choices = entry.rows
            wanted += bytes(count - choices) + b"\x01" * choices
        total = len(tokens)
        self._tokens[:total] = tokens
        self._positions[:total] = positions
        self._slots[:total] = slots
        ctypes.memmove(self._wanted, bytes(wanted), total)
        self.native.n_tokens = total
        return wanted.count(1)

    def fill_texts(self, texts: Sequence[Sequence[int]]) -> None:
        """Take whole texts, numbered from 0; an output is wanted of every token."""
        tokens: list[Any] = []
        positions: list[Any] = []
        slots: list[Any] = []
        for number, text in enumerate(texts):
            tokens += text
            positions += range(len(text))
            slots += [number] * len(text)
        total = len(tokens)
        self._tokens[:total] = tokens
        self._positions[:total] = positions
        self._slots[:total] = slots
        ctypes.memset(self._wanted, 1, total)
        self.native.n_tokens = total

    def _fill_single(self, entries: Sequence[BatchEntry[Any]]) -> int:
        """A token of each: answers under way."""
        rows = 0
        for index, entry in enumerate(entries):
            self._tokens[index] = entry.tokens[0]
            self._positions[index] = entry.start
            self._slots[index] = entry.slot
            wanted = entry.sampling is not None
            self._wanted[index] = wanted
            rows += wanted
        self.native.n_tokens = len(entries)
        return rows
