"""Vectors: one block of floats, with and without numpy."""

from __future__ import annotations

import pickle
import sys
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.vectors import Vectors, is_finite, shortened

SINGLES = st.floats(-1000, 1000, width=32)
MATRICES = st.integers(1, 9).flatmap(lambda width: st.lists(st.lists(SINGLES, min_size=width, max_size=width)))


@given(MATRICES)
def test_rows_are_views_of_one_block(rows: list[list[float]]) -> None:
    vectors = Vectors.of(rows)
    assert vectors.tolist() == rows == [list(row) for row in vectors]
    assert len(vectors) == len(rows)
    assert vectors[:1].tolist() == rows[:1]
    assert vectors[::-2].tolist() == rows[::-2]
    assert pickle.loads(pickle.dumps(vectors)) == vectors == Vectors.of(rows)
    assert np.asarray(vectors).tolist() == (rows or np.zeros((0, 0)).tolist())
    for index in range(-len(rows), len(rows)):
        assert vectors[index].tolist() == rows[index]
        assert np.shares_memory(np.asarray(vectors[index]), np.asarray(vectors))


def test_the_matrix_is_not_copied() -> None:
    floats = array("f", range(6))
    vectors = Vectors(floats, 3)
    matrix = np.asarray(vectors)
    assert matrix.dtype == np.float32
    assert matrix.shape == vectors.shape == vectors.data.shape == (2, 3)
    floats[4] = 44
    assert matrix[1, 1] == vectors[1][1] == 44
    assert np.asarray(vectors, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="copy"):
        vectors.__array__(np.float64, copy=False)
    if sys.version_info >= (3, 12):
        assert memoryview(vectors).shape == (2, 3)


def test_what_is_no_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="20 bytes"):
        Vectors(bytes(20), 3)
    with pytest.raises(ValueError, match="2 components, the first one has 1"):
        Vectors.of([[1], [1, 2]])
    with pytest.raises(IndexError):
        Vectors.of([[1]])[1]
    assert Vectors().shape == (0, 0)
    assert Vectors().tolist() == []
    assert list(Vectors().data) == []


@pytest.mark.parametrize("numpy", [True, False])
def test_shortening_and_lengths_need_no_numpy(numpy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not numpy:
        monkeypatch.setitem(sys.modules, "numpy", None)
    vectors = Vectors.of([[3, 4, 12], [0, 0, 0], [3e30, 4e30, 0]])
    unit = shortened(vectors, 2, normalize=True).tolist()
    assert unit == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0], [pytest.approx(0.6), pytest.approx(0.8)]]
    assert shortened(vectors, 1, normalize=False).tolist()[0] == [3]
    assert shortened(vectors, None, normalize=False) is vectors
    assert is_finite(vectors)
    assert not is_finite(Vectors.of([[1, float("nan")]]))
    assert not is_finite(Vectors.of([[1, float("inf")]]))


def test_a_list_of_vectors_can_be_compared_with_nothing_else() -> None:
    other: Any = [[1.0]]
    assert Vectors.of([[1]]) != other
    with pytest.raises(TypeError):
        hash(Vectors.of([[1]]))
