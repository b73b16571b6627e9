"""GGUF files: read the header, and say what is wrong with a damaged one, before the engine sees it.

The engine refuses most damaged files by itself, but it ends the whole process on some (a file is data, and its
assertions are not): absurd numbers of layers or heads, a tokenizer that names a token twice. So what it would assert is
checked here, together with what lets us say plainly what is wrong: how much of the file is missing, for one.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_DEFAULT_ALIGNMENT: Final = 32
_MAX_DIMENSIONS: Final = 4

_STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }.items()
}
"""Types of metadata values, by their number in the file."""
_U32: Final = _SCALARS[4]
_U64: Final = _SCALARS[10]

_LARGEST_SINGLE: Final = 3e38

BLOCKS: Final = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18),
}  # fmt: skip
"""Weights in a block, and its bytes, by ggml's number of the type. One that is not here is left to the engine."""

_SAMPLING: Final = {
    "temperature": "general.sampling.temp",
    "top_k": "general.sampling.top_k",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repetition_penalty": "general.sampling.penalty_repeat",
}
"""Metadata keys of recommended sampling, by canonical parameter name."""
_PENALTY_WINDOW: Final = "general.sampling.penalty_last_n"

_OTHER_FORMATS: Final = {
    b"PK\x03\x04": "a zip archive, as PyTorch's checkpoints are",
    b"tjgg": "a GGJT file, a format that llama.cpp dropped in 2023",
    b"lmgg": "a GGML file, a format that llama.cpp dropped in 2023",
    b"fmgg": "a GGMF file, a format that llama.cpp dropped in 2023",
    b"vers": "a Git LFS pointer, not the file itself: run `git lfs pull`",
    b"<!DO": "a web page: the download fetched a page about the model",
    b"<!do": "a web page: the download fetched a page about the model",
    b"<htm": "a web page: the download fetched a page about the model",
}
_SPLIT_NAME: Final = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


class DamagedFileError(Exception):
    """A damaged file; the message completes the sentence "... can't be loaded: REASON"."""


@dataclass(frozen=True, slots=True)
class Array:
    """An array in the metadata: the type and number of its elements. The elements themselves are kept only if they are
    texts."""

    kind: int
    length: int
    texts: list[bytes] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a GGUF file."""

    metadata: dict[str, Any]
    tensors: int
    size: int
    """The size that the whole file must have, in bytes, as far as the sizes of its tensors' types are known."""
    unknown_types: frozenset[int] = frozenset()
    """Tensor types that this release doesn't know."""
    head: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The tensors of a classification head (``cls...``) by name, with their shapes; the fastest dimension first."""


def read_header(path: Path) -> Header:
    """Read the header of *path*.

    Raises DamagedFileError with the reason, and OSError if the file can't be read.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        start = file.read(4)
        if start != MAGIC:
            raise DamagedFileError(_what_it_is(start, size))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data, size).header()


def _what_it_is(start: bytes, size: int) -> str:
    if size == 0:
        return "it is empty"
    if not any(start):
        return "it is not a GGUF file: it begins with zeros, like an unfinished download"
    looks = _OTHER_FORMATS.get(start, "")
    return f"it is not a GGUF file: it begins with {start!r}, not {MAGIC!r}" + (
        f". It looks like {looks}" if looks else ""
    )


class _Reader:
    """A walk through the bytes of one file."""

    def __init__(self, data: mmap.mmap, size: int) -> None:
        self._data = data
        self._size = size
        self._at = 4
        self._unknown: set[int] = set()
        self._head: dict[str, tuple[int, ...]] = {}

    def header(self) -> Header:
        version = self._number(_U32)
        if version not in _VERSIONS:
            raise DamagedFileError(_about_version(version))
        tensors, entries = self._number(_U64), self._number(_U64)
        # Every entry takes more than a dozen bytes: counts beyond that are no counts.
        if tensors > self._size or entries > self._size:
            raise DamagedFileError("its header is damaged: it declares more entries than the file has bytes")
        metadata: dict[str, Any] = {}
        for _ in range(entries):
            key = self._text().decode("utf-8", "replace")
            if key in metadata:
                raise DamagedFileError(f"its header is damaged: {key!r} occurs twice")
            metadata[key] = self._value(key, self._number(_U32))
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise DamagedFileError(f"its header is damaged: an alignment of {alignment!r}")
        ends = [self._tensor_end(alignment) for _ in range(tensors)]
        data_start = -(-self._at // alignment) * alignment
        needed = max((data_start + end for end in ends), default=self._at)
        if needed > self._size:
            raise DamagedFileError(f"it is cut short: it has {self._size:,} of {needed:,} bytes. Download it again")
        return Header(metadata, tensors, needed, frozenset(self._unknown), self._head)

    def _take(self, length: int) -> int:
        """Where the next *length* bytes begin."""
        begin = self._at
        if begin + length > self._size:
            raise DamagedFileError(
                f"it is cut short or damaged: it ends after {self._size:,} bytes, inside its header. Download it again"
            )
        self._at = begin + length
        return begin

    def _number(self, kind: struct.Struct) -> Any:
        return kind.unpack_from(self._data, self._take(kind.size))[0]

    def _text(self) -> bytes:
        length = self._number(_U64)
        begin = self._take(length)
        return self._data[begin : begin + length]

    def _value(self, key: str, kind: int) -> Any:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _STRING:
            return self._text().decode("utf-8", "replace")
        if kind != _ARRAY:
            raise DamagedFileError(f"its header is damaged: {key!r} has the unknown type {kind}")
        kind, length = self._number(_U32), self._number(_U64)
        if kind in _SCALARS:
            self._take(length * _SCALARS[kind].size)
            return Array(kind, length)
        if kind != _STRING:
            raise DamagedFileError(f"its header is damaged: {key!r} is an array of the unknown type {kind}")
        self._take(8 * length)  # the least that so many texts take
        self._at -= 8 * length
        return Array(kind, length, self._texts(length))

    def _texts(self, count: int) -> list[bytes]:
        """Many texts; the vocabulary of a large model has half a million, so this is written for speed."""
        data, at, size = self._data, self._at, self._size
        unpack = _U64.unpack_from
        texts = []
        for _ in range(count):
            begin = at + 8
            if begin > size:
                self._take(size + 1)
            at = begin + unpack(data, at)[0]
            if at > size:
                self._take(size + 1)
            texts.append(data[begin:at])
        self._at = at
        return texts

    def _tensor_end(self, alignment: int) -> int:
        """Where the tensor's data end, counted from the beginning of all data."""
        name = self._text().decode("utf-8", "replace")
        dimensions = self._number(_U32)
        if dimensions > _MAX_DIMENSIONS:
            raise DamagedFileError(f"its header is damaged: the tensor {name!r} has {dimensions} dimensions")
        shape = tuple(self._number(_U64) for _ in range(dimensions))
        weights = math.prod(shape)
        if name.startswith("cls."):
            self._head[name] = shape
        kind, offset = self._number(_U32), self._number(_U64)
        if offset % alignment:
            raise DamagedFileError(f"its header is damaged: the tensor {name!r} is not aligned")
        if kind not in BLOCKS:
            self._unknown.add(kind)
        per_block, size = BLOCKS.get(kind, (1, 0))
        return int(offset + -(-weights // per_block) * size)


def _about_version(version: int) -> str:
    if version == 1:
        return "it is in version 1 of the GGUF format, which llama.cpp no longer reads: convert the model again"
    if version & 0xFFFF == 0:
        return "it is a GGUF file for big-endian machines"
    return f"it is in version {version} of the GGUF format, which this release doesn't know, or it is damaged"


def recommended_sampling(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling that the model's makers recommend (``general.sampling.*``), by canonical parameter name.

    As llama.cpp reads them, a temperature below 0 is greedy, a ``top_k`` below 0 keeps all tokens, and with
    ``penalty_last_n`` 0 no repetition is penalized. Values are not checked further.
    """
    found = {name: _shortest(metadata[key]) for name, key in _SAMPLING.items() if key in metadata}
    for name in ("temperature", "top_k"):
        value = found.get(name)
        if isinstance(value, int | float) and value < 0:
            found[name] = 0
    if metadata.get(_PENALTY_WINDOW) == 0:
        found.pop("repetition_penalty", None)
    return found


def _shortest(value: Any) -> Any:
    """A float as its shortest decimal that is the same in 32 bits: 0.6, where a file holds 0.6000000238418579."""
    if not isinstance(value, float) or not abs(value) < _LARGEST_SINGLE:
        return value
    single = struct.pack("<f", value)
    shorter = (float(f"{value:.{digits}g}") for digits in range(1, 9))
    return next((each for each in shorter if struct.pack("<f", each) == single), value)


def split_siblings(path: Path, header: Header) -> list[Path]:
    """All files of a model: its parts, if it is split into several, otherwise just *path*.

    Raises DamagedFileError where *path* is not the first one, or is named so that the engine can't find the others.
    """
    count = header.metadata.get("split.count", 0)
    if not isinstance(count, int) or count <= 1:
        return [path]
    match = _SPLIT_NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise DamagedFileError(
            f"it is one of {count} parts, and the engine finds the others only if all are named "
            f"NAME-00001-of-{count:05}.gguf and so on"
        )
    if int(match["number"]) != 1:
        first = f"{match['prefix']}-00001-of-{count:05}.gguf"
        raise DamagedFileError(f"it is part {int(match['number'])} of {count}: load the first one, {first}")
    return [path.with_name(f"{match['prefix']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]
