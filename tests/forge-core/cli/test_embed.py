"""``llamaforge embed`` and ``llamaforge rerank``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llamaforge import LlamaForge, get_backend
from llamaforge.errors import NoBackendForModelError

TEXTS = ["the tide", "a dog by the sea", "fog"]


def vectors() -> Any:
    with get_backend("echo")() as echo:
        echo.load_model("m", {"task": "embed"})
        return np.asarray(echo.embed(TEXTS))


def test_each_line_has_its_vector(quickly: Any, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("\n\n".join(TEXTS) + "\n")
    lines = [
        json.loads(line)
        for line in quickly.fine("embed", "--backend", "echo", "--text", "--file", str(file)).splitlines()
    ]
    assert [(line["index"], line["text"]) for line in lines] == list(enumerate(TEXTS))
    assert np.array_equal(np.array([line["embedding"] for line in lines], dtype=np.float32), vectors())


def test_a_matrix_for_numpy(quickly: Any, tmp_path: Path) -> None:
    file, out = tmp_path / "texts.txt", tmp_path / "out.npy"
    file.write_text("\n".join(TEXTS))
    assert quickly.fine("embed", "--backend", "echo", "--npy", str(out), "--file", str(file)) == ""
    assert np.array_equal(np.load(out), vectors())
    assert quickly.fine("embed", "--backend", "echo", "--npy", str(out), "--dimensions", "5", "-f", str(file)) == ""
    assert np.load(out).shape == (3, 5)
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    assert quickly.fine("embed", "--backend", "echo", "--npy", str(out), "-f", str(empty)) == ""
    assert np.load(out).shape == (0, 0)


def test_documents_are_sorted(quickly: Any, tmp_path: Path) -> None:
    file = tmp_path / "documents.txt"
    file.write_text("\n".join(TEXTS))
    said = quickly.fine("rerank", "--backend", "echo", "dog by the sea", "-f", str(file)).splitlines()
    assert [line.partition("  ")[2] for line in said] == [TEXTS[1], TEXTS[0], TEXTS[2]]
    best = json.loads(quickly.fine("rerank", "--backend", "echo", "--json", "-n", "1", "dog", "-f", str(file)))
    assert (best["index"], best["document"]) == (1, TEXTS[1])


def test_lines_come_from_standard_input(llamaforge: Any) -> None:
    done = llamaforge("rerank", "--backend", "echo", "fog", stdin="a dog\nfog\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith("  fog")


def test_an_empty_text_of_the_command_line_is_refused(quickly: Any) -> None:
    for command in (("embed", "--backend", "echo", "fog", ""), ("rerank", "--backend", "echo", "fog", "a", " ")):
        done = quickly(*command)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Text 2 of the command line is empty." in done.stderr


def test_what_is_wrong_is_said(llamaforge: Any, tmp_path: Path) -> None:
    done = llamaforge("embed", "--backend", "echo", "-f", str(tmp_path / "absent.txt"))
    assert done.returncode != 0
    assert "absent.txt can't be read" in done.stderr
    (tmp_path / "latin.txt").write_bytes(b"fine\n\xe9\n")
    done = llamaforge("embed", "--backend", "echo", "-f", str(tmp_path / "latin.txt"))
    assert "latin.txt is not UTF-8 text (line 2" in done.stderr
    done = llamaforge("embed", "--backend", "echo", "--load", "task=rerank", stdin="x\n")
    assert "loaded for rerank" in done.stderr


def test_texts_may_stand_in_the_command(quickly: Any, llamaforge: Any, tmp_path: Path) -> None:
    lines = quickly.fine("embed", "--backend", "echo", *TEXTS).splitlines()
    assert np.array_equal(np.array([json.loads(line)["embedding"] for line in lines], dtype=np.float32), vectors())
    best = quickly.fine("rerank", "--backend", "echo", "-n", "1", "dog by the sea", *TEXTS)
    assert best.endswith("  a dog by the sea\n")
    file = tmp_path / "more.txt"
    file.write_text("one\n\ntwo\n")
    for options, count in (((), 3), (("--whole",), 2)):
        lines = quickly.fine("embed", "--backend", "echo", "--text", "fog", "-f", str(file), *options).splitlines()
        assert [json.loads(line)["text"] for line in lines] == ["fog", "one", "two"][:count] or options
        assert len(lines) == count
    done = llamaforge("embed", "--backend", "echo", str(file))
    assert done.returncode == 2
    assert f"--file {file}" in done.stderr.replace("\n", " ")


def test_a_default_model_for_other_work_is_not_taken(llamaforge: Any) -> None:
    done = llamaforge("rerank", "fog", "a dog")
    assert done.returncode == 2
    assert "-m MODEL" in done.stderr


def test_what_the_built_in_model_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llamaforge.backends.registry.BACKENDS.names", list)
    with pytest.raises(NoBackendForModelError) as caught:
        LlamaForge(offline=True).load_model("all-minilm-l6-v2")
    assert "For huggingface" in str(caught.value)
    assert "[embeddings]" in str(caught.value)
    assert "llama.cpp" not in str(caught.value)
