"""What a model's makers recommend for sampling, read from its files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from llamaforge.models.recommended import recommended_sampling


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20}, "temperature top_p top_k"),
        ({"do_sample": True, "temperature": 0.6, "repetition_penalty": 1.1}, "temperature repetition_penalty"),
        ({"do_sample": True, "temperature": "hot", "min_p": 2, "top_k": 5}, "top_k"),
        ({"temperature": 0.6, "top_p": 0.9, "eos_token_id": 2}, ""),
        ({"repetition_penalty": 1.1}, "repetition_penalty"),
        ([], ""),
    ],
)
def test_generation_config(tmp_path: Path, told: Any, expected: str) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps(told))
    assert recommended_sampling(tmp_path) == {name: told[name] for name in expected.split()}


def test_greedy(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"do_sample": false, "temperature": 0.6}')
    assert recommended_sampling(tmp_path) == {"temperature": 0.0}


def test_gguf(tmp_path: Path) -> None:
    entries = [("general.sampling.top_k", 5, "<i", 7), ("general.sampling.top_p", 6, "<f", -3.0)]
    header = struct.pack("<4sIQQ", b"GGUF", 3, 0, len(entries))  # version, number of tensors and of entries
    for key, kind, layout, value in entries:
        header += struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", kind) + struct.pack(layout, value)
    (tmp_path / "tiny.gguf").write_bytes(header)
    assert recommended_sampling(tmp_path / "tiny.gguf") == {"top_k": 7}


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("{")
    (tmp_path / "no.gguf").write_bytes(b"GGUF cut off")
    for path in (tmp_path, tmp_path / "no.gguf", tmp_path / "gone.gguf"):
        assert recommended_sampling(path) == {}
