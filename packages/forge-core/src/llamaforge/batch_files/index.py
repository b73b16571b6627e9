"""Which rows are done, in a hash table of two arrays, since a dict's objects take several times as much."""

from __future__ import annotations

from array import array
from typing import Final

_EMPTY: Final = 0
_LEAST: Final = 1 << 10
_MASK: Final = (1 << 64) - 1


class RowIndex:
    """A mapping from names of rows to the keys of their requests (8 bytes).

    Names are compared by 64 bits of their hash: among a million rows two are alike with a probability of 3e-8.
    """

    def __init__(self) -> None:
        self._names = array("Q", bytes(8 * _LEAST))
        self._keys = array("Q", bytes(8 * _LEAST))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, name: str) -> bytes | None:
        """The key of the row *name*; None if it isn't here."""
        place = self._place(_digest(name))
        return self._keys[place].to_bytes(8, "big") if self._names[place] != _EMPTY else None

    def set(self, name: str, key: bytes) -> None:
        """Put the row *name* in, or give it another key."""
        digest = _digest(name)
        place = self._place(digest)
        if self._names[place] == _EMPTY:
            self._count += 1
            if self._count * 3 > len(self._names) * 2:
                self._grow()
                place = self._place(digest)
        self._names[place] = digest
        self._keys[place] = int.from_bytes(key, "big")

    def _place(self, digest: int) -> int:
        """Where *digest* is, or may be put."""
        names, mask = self._names, len(self._names) - 1
        place = digest & mask
        while names[place] not in (_EMPTY, digest):
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        names, keys = self._names, self._keys
        size = len(names) * 2
        self._names, self._keys = array("Q", bytes(8 * size)), array("Q", bytes(8 * size))
        for name, key in zip(names, keys, strict=True):
            if name != _EMPTY:
                place = self._place(name)
                self._names[place], self._keys[place] = name, key


def _digest(name: str) -> int:
    """Python's own hash, SipHash with a secret of this process: nobody can make names that collide."""
    return hash(name) & _MASK or 1
