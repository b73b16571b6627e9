"""Many vectors of 32-bit floats in one block of memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    Row: TypeAlias = memoryview[float]
else:
    Row: TypeAlias = memoryview
"""A vector: a one-dimensional view of 32-bit floats."""

_BYTES: Final = 4
"""Bytes of a 32-bit float."""


class Vectors(Sequence[Row]):
    """Vectors of equal length: rows of 32-bit floats, one after another in memory.

    ``vectors[0]`` is a row as a :class:`memoryview`, without a copy: it has a length, iterates over ``float``, and has
    the buffer protocol. ``numpy.asarray(vectors)`` is the whole matrix, also without a copy, and so is :attr:`data`.

    Args:
        data: the floats, in the machine's byte order.
        dimensions: the length of each vector; 0 if there are none. Also an attribute.

    Raises ValueError if *data* doesn't consist of whole vectors.
    """

    __slots__ = ("_floats", "dimensions")

    def __init__(self, data: ReadableBuffer = b"", dimensions: int = 0) -> None:
        view = memoryview(data)
        size = view.nbytes
        if (size % (dimensions * _BYTES) if dimensions > 0 else size) != 0:
            raise ValueError(f"{size} bytes are no whole number of vectors of {dimensions} 32-bit floats.")
        self._floats = (view if view.ndim == 1 and view.format == "B" else view.cast("B")).cast("f")
        self.dimensions = dimensions

    @classmethod
    def of(cls, rows: Iterable[Iterable[float]]) -> Vectors:
        """Vectors with these components. Raises ValueError if the rows differ in length."""
        floats, dimensions = array("f"), None
        for row in rows:
            before = len(floats)
            floats.extend(row)
            if dimensions not in (None, len(floats) - before):
                raise ValueError(f"A row has {len(floats) - before} components, the first one has {dimensions}.")
            dimensions = len(floats) - before
        return cls(floats, dimensions or 0)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of vectors, and the length of each."""
        return len(self), self.dimensions

    @property
    def data(self) -> Row:
        """All components as a two-dimensional memoryview of 32-bit floats."""
        if not len(self):  # memoryview refuses a shape with a zero
            return self._floats
        return self._floats.cast("B").cast("f", shape=self.shape)

    def tolist(self) -> list[list[float]]:
        """The components as Python's floats."""
        return [list(row) for row in self]

    def tobytes(self) -> bytes:
        """All components as bytes, in the machine's byte order."""
        return self._floats.tobytes()

    def __len__(self) -> int:
        return len(self._floats) // self.dimensions if self.dimensions else 0

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Vectors: ...
    def __getitem__(self, index: int | slice) -> Row | Vectors:
        width = self.dimensions
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return Vectors(self._floats[start * width : max(start, stop) * width], width)
            return Vectors(b"".join(self[each] for each in range(start, stop, step)), width)
        position = range(len(self))[index]
        return self._floats[position * width : (position + 1) * width]

    def __iter__(self) -> Iterator[Row]:
        width = self.dimensions
        return (self._floats[start : start + width] for start in range(0, len(self._floats), width or 1))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vectors):
            return NotImplemented
        return self.shape == other.shape and self._floats == other._floats

    __hash__ = None  # type: ignore[assignment]

    def __buffer__(self, flags: int, /) -> Row:  # Python 3.12 and later call it
        return self.data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy as np

        matrix = np.frombuffer(self._floats.cast("B"), dtype=np.float32).reshape(self.shape)
        if dtype is not None and np.dtype(dtype) != matrix.dtype:
            if copy is False:
                raise ValueError(f"Vectors are float32; {np.dtype(dtype)} takes a copy.")
            return matrix.astype(dtype)
        return matrix.copy() if copy else matrix

    def __reduce__(self) -> tuple[type[Vectors], tuple[bytes, int]]:
        return Vectors, (self.tobytes(), self.dimensions)

    def __repr__(self) -> str:
        return f"<Vectors: {len(self)} of {self.dimensions} dimensions>"


def shortened(vectors: Vectors, dimensions: int | None, *, normalize: bool) -> Vectors:
    """The first *dimensions* components of each vector; with *normalize*, scaled to length 1 afterwards.

    A vector of zeros has no direction and stays as it is.
    """
    width = vectors.dimensions if dimensions is None else dimensions
    if width == vectors.dimensions and not normalize:
        return vectors
    try:
        import numpy as np
    except ImportError:
        return _shortened_slowly(vectors, width, normalize=normalize)
    matrix = np.asarray(vectors)[:, :width]
    if normalize:
        # float64: squares of large components overflow otherwise
        lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
        lengths[lengths == 0] = 1
        matrix = (matrix / lengths[:, None]).astype(np.float32)
    return Vectors(np.ascontiguousarray(matrix).data, width)


def _shortened_slowly(vectors: Vectors, width: int, *, normalize: bool) -> Vectors:
    floats = array("f")
    for row in vectors:
        part = row[:width]
        length = math.hypot(*part) if normalize else 1.0
        floats.extend(part if length in (0.0, 1.0) else [component / length for component in part])
    return Vectors(floats, width)


def is_finite(vectors: Vectors) -> bool:
    """Whether no component is infinite or NaN."""
    try:
        import numpy as np
    except ImportError:
        isfinite: Callable[[float], bool] = math.isfinite
        return all(isfinite(component) for row in vectors for component in row)
    return bool(np.isfinite(np.asarray(vectors)).all())
