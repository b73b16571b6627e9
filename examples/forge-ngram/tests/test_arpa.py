"""The file format: what is written is read, and what is damaged is refused with its line."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from llamaforge import get_backend
from llamaforge.errors import InvalidModelError, ModelError, ModelLoadError, ModelNotFoundError

from forge_ngram import arpa
from forge_ngram.model import NgramModel

# By hand: p(b|a) = 0.5; p(a|a) = backoff(a) p(a) = 0.4 * 0.25.
SMALL = """
\\data\\
ngram 1=4
ngram 2=1

\\1-grams:
-99\t<s>
-0.30103\t</s>
-0.60206\ta\t-0.39794
-0.60206\tb

\\2-grams:
-0.30103\ta b

\\end\\
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "small.arpa"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_small_file_is_read_as_it_says(tmp_path: Path) -> None:
    model = arpa.read(written(tmp_path, SMALL))
    probabilities = [math.exp(each) for each in model.next_logprobs(model.encode("b a"))]
    assert dict(zip(model.vocabulary, probabilities, strict=True)) == pytest.approx(
        {"<s>": 0.0, "</s>": 0.4 * 0.5, "a": 0.4 * 0.25, "b": 0.5}, abs=1e-5
    )


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_what_is_written_is_read(name: str, model: NgramModel, tmp_path: Path) -> None:
    with arpa.open_text(tmp_path / name, "w") as file:
        arpa.write(model, file)
    again = arpa.read(tmp_path / name)
    assert (list(again.vocabulary), again.order) == (list(model.vocabulary), model.order)
    assert again.backoffs == pytest.approx(model.backoffs, abs=1e-6)
    for context, followers in model.logprobs.items():
        finite = {word: logprob for word, logprob in followers.items() if logprob > -math.inf}
        assert {word: again.logprobs[context][word] for word in finite} == pytest.approx(finite, abs=1e-6)


def test_every_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    whole = SMALL.rstrip()
    for length in range(len(whole)):
        with pytest.raises(arpa.ArpaError):
            arpa.read(written(tmp_path, whole[:length]))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("ngram 1=4", "ngram 1=5", 12),
        ("ngram 1=4", "ngram 1=many", 3),
        ("ngram 1=4", "ngram 2=4", 3),
        ("\\2-grams:", "\\3-grams:", 12),
        ("-0.30103\ta b", "-0.30103\ta c", 13),
        ("-0.30103\ta b", "-0.30103\ta", 13),
        ("-0.30103\ta b", "0.5\ta b", 13),
        ("-0.30103\ta b", "nan\ta b", 13),
        ("-0.30103\ta b", "half\ta b", 13),
    ],
)
def test_damage_is_reported_with_its_line(old: str, new: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(arpa.ArpaError) as caught:
        arpa.read(written(tmp_path, SMALL.replace(old, new)))
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("absent.arpa", None, ModelNotFoundError),
        ("empty.arpa", b"", InvalidModelError),
        ("other.arpa", b"GGUF\x03", InvalidModelError),
        ("binary.arpa", b"\xff\xfe\x00", InvalidModelError),
        ("damaged.arpa", SMALL.replace("half", "x").replace("-99", "?").encode(), InvalidModelError),
        ("unpacked.arpa.gz", SMALL.encode(), InvalidModelError),
        ("cut.arpa.gz", gzip.compress(SMALL.encode())[:-1], InvalidModelError),
        ("broken.arpa.gz", gzip.compress(SMALL.encode())[:12] + b"\xff" * 60, InvalidModelError),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    name: str, content: bytes | None, expected: type[ModelError], tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    backend = get_backend("ngram")()
    with pytest.raises(expected):
        backend.load_model(tmp_path / name)
    assert not backend.is_model_loaded()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises((InvalidModelError, ModelLoadError)):
        get_backend("ngram")().load_model(tmp_path)


def test_a_model_stays_loaded_when_the_next_is_none(model_file: Path, tmp_path: Path) -> None:
    backend = get_backend("ngram")()
    backend.load_model(model_file)
    with pytest.raises(InvalidModelError):
        backend.load_model(written(tmp_path, "no model"))
    assert backend.generate("the old", temperature=0, max_tokens=1) == " keeper"
