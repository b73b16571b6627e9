"""``llamaforge embed`` and ``llamaforge rerank``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from llamaforge import get_backend

TEXTS = ["the tide", "a dog by the sea", "fog"]


def vectors() -> Any:
    with get_backend("echo")() as echo:
        echo.load_model("m", {"task": "embed"})
        return np.asarray(echo.embed(TEXTS))


def test_each_line_has_its_vector(quickly: Any, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n\n".join(TEXTS) + "\n")
    lines = [json.loads(line) for line in quickly.fine("embed", "--backend", "echo", "--text", str(file)).splitlines()]
    assert [(line["index"], line["text"]) for line in lines] == list(enumerate(TEXTS))
    assert np.array_equal(np.array([line["embedding"] for line in lines], dtype=np.float32), vectors())


def test_a_matrix_for_numpy(quickly: Any, tmp_path: Path) -> None:
    file, out = tmp_path / "texts.txt", tmp_path / "out.npy"
    file.write_text("\n".join(TEXTS))
    assert quickly.fine("embed", "--backend", "echo", "--npy", str(out), str(file)) == ""
    assert np.array_equal(np.load(out), vectors())
    assert quickly.fine("embed", "--backend", "echo", "--npy", str(out), "--dimensions", "5", str(file)) == ""
    assert np.load(out).shape == (3, 5)
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    assert quickly.fine("embed", "--backend", "echo", "--npy", str(out), str(empty)) == ""
    assert np.load(out).shape == (0, 0)


def test_documents_are_sorted(quickly: Any, tmp_path: Path) -> None:
    file = tmp_path / "documents.txt"
    file.write_text("\n".join(TEXTS))
    said = quickly.fine("rerank", "--backend", "echo", "dog by the sea", str(file)).splitlines()
    assert [line.partition("  ")[2] for line in said] == [TEXTS[1], TEXTS[0], TEXTS[2]]
    best = json.loads(quickly.fine("rerank", "--backend", "echo", "--json", "-n", "1", "dog", str(file)))
    assert (best["index"], best["document"]) == (1, TEXTS[1])


def test_lines_come_from_standard_input(llamaforge: Any) -> None:
    done = llamaforge("rerank", "--backend", "echo", "fog", stdin="a dog\nfog\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith("  fog")


def test_what_is_wrong_is_said(llamaforge: Any, tmp_path: Path) -> None:
    done = llamaforge("embed", "--backend", "echo", str(tmp_path / "absent.txt"))
    assert done.returncode != 0
    assert "absent.txt can't be read" in done.stderr
    (tmp_path / "latin.txt").write_bytes(b"fine\n\xe9\n")
    done = llamaforge("embed", "--backend", "echo", str(tmp_path / "latin.txt"))
    assert "latin.txt is not UTF-8 text (line 2" in done.stderr
    done = llamaforge("embed", "--backend", "echo", "--load", "task=rerank", stdin="x\n")
    assert "loaded for rerank" in done.stderr
