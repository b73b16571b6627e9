"""Whether a GGUF file is whole, read from its own tables. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

transformers reads such a file with little checking; a file that was cut short would fail somewhere in the middle, with
whatever exception comes first there.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final

from gguf import GGML_QUANT_SIZES

from llamaforge.errors import InvalidModelError

_FIXED: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of the metadata values that have a fixed size, by type."""
_UINT32, _STRING, _ARRAY = 4, 8, 9
_SIZES: Final = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
"""Elements and bytes of a block of each tensor type."""
_ALIGNMENT = b"general.alignment"


def check_gguf(path: Path, name: str) -> None:
    """Raise InvalidModelError where *path* is no GGUF file, or not a whole one."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            if start[:4] != b"GGUF":
                raise InvalidModelError(name, "it doesn't begin as a GGUF file does.")
            if len(start) < 8 or struct.unpack("<I", start[4:])[0] not in (2, 3):
                raise InvalidModelError(name, "it is no GGUF file of version 2 or 3 with little-endian numbers.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                needed, has = _Reader(data, name).end_of_tensors(), len(data)
    except InvalidModelError:
        raise
    except (struct.error, ValueError):
        raise InvalidModelError(name, "its tables are damaged, or the file was cut short. Fetch it again.") from None
    except OSError as error:
        raise InvalidModelError(name, f"it can't be read ({error})") from None
    if has < needed:
        raise InvalidModelError(name, f"it was cut short: it has {has} bytes of {needed}. Fetch it again.")


class _Reader:
    """Walks through the tables."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self._data = data
        self._name = name
        self._at = 8
        self._alignment = 32

    def end_of_tensors(self) -> int:
        """The byte at which the last tensor ends."""
        tensors, entries = self._unpack("<QQ")
        for _ in range(entries):
            key = self._string()
            (kind,) = self._unpack("<I")
            if key == _ALIGNMENT and kind == _UINT32:
                (self._alignment,) = struct.unpack_from("<I", self._data, self._at)
                if not self._alignment:
                    raise ValueError("an alignment of nothing")
            self._skip(kind)
        ends = [self._tensor() for _ in range(tensors)]
        start = -(-self._at // self._alignment) * self._alignment
        return start + max(ends, default=0)

    def _tensor(self) -> int:
        """Where the next tensor of the table ends, from the beginning of the data."""
        self._string()
        (dimensions,) = self._unpack("<I")
        elements = 1
        for size in self._unpack(f"<{dimensions}Q"):
            elements *= size
        kind, offset = self._unpack("<IQ")
        if kind not in _SIZES:
            raise InvalidModelError(
                self._name,
                f"it holds tensors of type {kind}, which the package gguf doesn't know. Update that.",
            )
        block, size = _SIZES[kind]
        return int(offset + elements // block * size)

    def _skip(self, kind: int) -> None:
        if kind in _FIXED:
            self._move(_FIXED[kind])
        elif kind == _STRING:
            self._string()
        elif kind == _ARRAY:
            of, count = self._unpack("<IQ")
            if of in _FIXED:
                self._move(_FIXED[of] * count)
            else:
                for _ in range(count):
                    self._skip(of)
        else:
            raise ValueError(f"a value of the unknown type {kind}")

    def _string(self) -> bytes:
        (length,) = self._unpack("<Q")
        start = self._at
        self._move(length)
        return self._data[start : self._at] if length < 64 else b""

    def _unpack(self, layout: str) -> tuple[int, ...]:
        start = self._at
        self._move(struct.calcsize(layout))
        return struct.unpack_from(layout, self._data, start)

    def _move(self, size: int) -> None:
        self._at += size
        if self._at > len(self._data):
            raise ValueError("the file ends before its tables do")
