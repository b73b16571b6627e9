"""Which rows are done, in a hash table of two arrays, since a dict's objects take several times as much."""

from __future__ import annotations

from array import array
from typing import Final

_EMPTY: Final = 0
_LEAST: Final = 1 << 10


class RowIndex:
    """A mapping from names of rows to the keys of their requests (8 bytes).

    Names are compared by 64 bits of Python's own hash, SipHash with a secret of this process, so that nobody can make
    names that collide; among a million rows two are alike with a probability of 3e-8.

    Args:
        expected: how many rows there will be, so that the table needn't grow. More may come.
    """

    def __init__(self, expected: int = 0) -> None:
        size = max(_LEAST, 1 << (expected * 3 // 2).bit_length())
        self._names = array("q", bytes(8 * size))
        self._keys = array("Q", bytes(8 * size))
        self._mask = size - 1
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, name: str) -> bytes | None:
        """The key of the row *name*; None if it isn't here."""
        place, found = self._place(name)
        return self._keys[place].to_bytes(8, "big") if found else None

    def set(self, name: str, key: bytes) -> None:
        """Put the row *name* in, or give it another key."""
        if self.add(name, key) is not None:
            self._keys[self._place(name)[0]] = int.from_bytes(key, "big")

    def add(self, name: str, key: bytes) -> bytes | None:
        """Put the row *name* in, unless it is here: then its key."""
        names, mask, digest = self._names, self._mask, hash(name) or 1  # for each row: no more calls than needed
        place = digest & mask
        while found := names[place]:
            if found == digest:
                return self._keys[place].to_bytes(8, "big")
            place = (place + 1) & mask
        names[place], self._keys[place] = digest, int.from_bytes(key, "big")
        self._count = count = self._count + 1
        if count * 3 > mask * 2:
            self._grow()
        return None

    def _place(self, name: str) -> tuple[int, bool]:
        """Where *name* is, or may be put; whether it is there."""
        names, mask, digest = self._names, self._mask, hash(name) or 1
        place = digest & mask
        while names[place] not in (_EMPTY, digest):
            place = (place + 1) & mask
        return place, names[place] == digest

    def _grow(self) -> None:
        old_names, old_keys = self._names, self._keys
        size = len(old_names) * 2
        names, keys, mask = array("q", bytes(8 * size)), array("Q", bytes(8 * size)), size - 1
        for digest, key in zip(old_names, old_keys, strict=True):
            if digest != _EMPTY:
                place = digest & mask
                while names[place] != _EMPTY:
                    place = (place + 1) & mask
                names[place], keys[place] = digest, key
        self._names, self._keys, self._mask = names, keys, mask
