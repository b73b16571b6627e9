"""``llamaforge train-ngram``, as users call it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SENTENCES = Path(__file__).with_name("sentences.txt")


def llamaforge(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "llamaforge", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["made.arpa", "made.arpa.gz"])
def test_a_model_is_made_and_run(name: str, tmp_path: Path) -> None:
    made = llamaforge("train-ngram", SENTENCES, "--output", tmp_path / name)
    assert (made.returncode, made.stdout) == (0, "")
    assert "n-grams up to 3" in made.stderr
    assert [each.name for each in tmp_path.iterdir()] == [name]
    answer = llamaforge("run", "--model", tmp_path / name, "--temperature", "0", "--max-tokens", "1", "the old")
    assert answer.stdout == " keeper\n", answer.stderr


def test_standard_input_is_read(tmp_path: Path) -> None:
    assert llamaforge("train-ngram", "-", "-o", tmp_path / "a.arpa", stdin="the sea").returncode == 0


def test_what_can_not_be_done_is_a_usage_error(tmp_path: Path) -> None:
    output = tmp_path / "a.arpa"
    output.write_text("as it was")
    for arguments, said in (
        ((SENTENCES, "-o", tmp_path / "no" / "folder.arpa"), "can't be written"),
        (("-", "-o", output), "no words"),
        ((SENTENCES, "-o", output, "--order", 0), "--order"),
        ((tmp_path / "absent.txt", "-o", output), "absent.txt"),
    ):
        done = llamaforge("train-ngram", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
    assert output.read_text() == "as it was"
    assert [each.name for each in tmp_path.iterdir()] == ["a.arpa"]


def test_it_is_listed_and_described() -> None:
    assert "train-ngram" in llamaforge("--help").stdout
    assert "ngram" in llamaforge("backends").stdout
    shown = llamaforge("backends", "show", "ngram").stdout
    assert "n_ctx" in shown
    assert "from 2 to 1000000" in shown
