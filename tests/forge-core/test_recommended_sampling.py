"""What GGUF metadata recommend for sampling, under our names."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.formats.gguf import recommended_sampling
from llamaforge.parameters import read_parameters

KEY = "general.sampling."


def single(value: float) -> float:
    """As a file of 32-bit floats holds it."""
    (kept,) = struct.unpack("<f", struct.pack("<f", value))
    return float(kept)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, {}),
        ({"temp": single(0.6), "top_k": 20}, {"temperature": 0.6, "top_k": 20}),
        ({"top_p": single(0.95), "min_p": 0.0}, {"top_p": 0.95, "min_p": 0.0}),
        ({"penalty_repeat": single(1.05), "penalty_last_n": 64}, {"repetition_penalty": 1.05}),
        ({"penalty_repeat": single(1.05), "penalty_last_n": 0}, {}),
        ({"temp": -1.0, "top_k": -5, "top_p": 0.0, "min_p": 2.0, "penalty_repeat": 0.0}, {}),
        ({"temp": math.nan, "top_p": math.inf, "penalty_repeat": math.inf}, {}),
        ({"temp": "hot", "top_k": True, "min_p": None}, {}),
        ({"xtc_probability": 0.5, "mirostat": 2, "sequence": "kpt"}, {}),
    ],
)
def test_known_names_and_possible_values_count(told: dict[str, Any], expected: dict[str, Any]) -> None:
    found = recommended_sampling({KEY + name: value for name, value in told.items()})
    assert found == expected
    assert type(found.get("top_k", 0)) is int


@given(st.dictionaries(st.sampled_from(["temp", "top_k", "top_p", "min_p", "penalty_repeat"]), st.floats(width=32)))
def test_what_is_recommended_is_always_accepted(told: dict[str, float]) -> None:
    read_parameters(recommended_sampling({KEY + name: value for name, value in told.items()}))


@given(st.floats(min_value=0.0009765625, max_value=1, width=32))
def test_the_number_is_the_file_s(value: float) -> None:
    found = recommended_sampling({f"{KEY}top_p": value})["top_p"]
    assert single(found) == value
