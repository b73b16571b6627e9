"""Paths and bare hub ids."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.errors import ChecksumError, InvalidReferenceError, LlamaForgeError, SourceNotFoundError
from llamaforge.sources import resolve
from llamaforge.sources.spec import ResolvedModel

from .conftest import Watched

CONTENT = b"GGUF" + bytes(100)
SUM = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "Model.GGUF").write_bytes(CONTENT)
    (folder / "tuned").mkdir()
    (folder / "tuned" / "config.json").write_text("{}")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    return folder


@pytest.mark.parametrize("text", ["Model.GGUF", "./Model.GGUF", "~/Model.GGUF", "path:Model.GGUF", "{}/Model.GGUF"])
def test_a_file(here: Path, text: str) -> None:
    text = text.format(here)
    model = resolve(text)
    assert model == ResolvedModel(text, str(here / "Model.GGUF"), here / "Model.GGUF", None, "path")
    assert (model.is_file, model.is_folder, model.is_hub_id, model.suffix) == (True, False, False, ".gguf")
    assert model.starts_with(b"GGUF")
    assert not model.starts_with(b"PK")
    assert not model.has_file("config.json")


def test_a_folder(here: Path) -> None:
    model = resolve(here / "tuned")
    assert (model.location, model.is_folder, model.suffix) == (str(here / "tuned"), True, "")
    assert model.has_file("config.json")
    assert not model.has_file("model.gguf")
    assert not model.starts_with(b"")


def test_names_that_look_like_something_else(here: Path) -> None:
    for name in ["ftp:model.bin", "x#sha256=no", "a@b", "ünï cødé.gguf"]:
        (here / name).write_bytes(CONTENT)
        assert resolve(here / name).path == here / name
    assert resolve("ftp:model.bin").path == here / "ftp:model.bin"
    assert resolve("path:a@b").path == here / "a@b"


def test_a_bare_hub_id_touches_nothing(here: Path) -> None:
    model = resolve("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert model == ResolvedModel(model.reference, model.reference, None, None, "hf")
    assert (model.is_file, model.is_folder, model.is_hub_id, model.suffix) == (False, False, True, "")
    assert not model.has_file("config.json")


def test_a_path_that_exists_goes_before_a_hub_id(here: Path) -> None:
    (here / "org" / "name").mkdir(parents=True)
    assert resolve("org/name").path == here / "org" / "name"
    assert resolve("org/other").path is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model.ggu", "Did you mean 'Model.GGUF'"),
        ("tunde", "Did you mean 'tuned'"),
        ("models/llama.gguf", "the folder .*models does not exist"),
        ("path:org/name", "does not exist"),
        ("a/b/c", "does not exist"),
        ("gpt-4", "name the backend, too"),
    ],
)
def test_what_is_missing(here: Path, text: str, says: str) -> None:
    with pytest.raises(SourceNotFoundError, match=says) as caught:
        resolve(text)
    assert caught.value.reference == text
    assert isinstance(caught.value, FileNotFoundError)


def test_neither_file_nor_folder(here: Path) -> None:
    os.mkfifo(here / "pipe")
    with pytest.raises(SourceNotFoundError, match="neither a regular file nor a folder"):
        resolve("pipe")


def test_a_name_too_long_for_the_system(here: Path) -> None:
    with pytest.raises((InvalidReferenceError, SourceNotFoundError)):
        resolve("x" * 5000)


@given(st.text(max_size=30))
def test_any_text_gives_an_answer_or_one_of_our_errors(text: str) -> None:
    try:
        model = resolve(text, offline=True)
    except LlamaForgeError:
        return
    assert model.location


def test_the_checksum_of_a_file(here: Path) -> None:
    assert resolve("Model.GGUF", sha256=SUM).path == here / "Model.GGUF"
    assert resolve(f"Model.GGUF#sha256={SUM}").path == here / "Model.GGUF"
    with pytest.raises(ChecksumError) as caught:
        resolve("Model.GGUF", sha256=SUM[::-1])
    assert (caught.value.expected, caught.value.actual) == (SUM[::-1], SUM)


def test_a_checksum_needs_one_file(here: Path) -> None:
    for text in ("tuned", "org/name", "hf:org/name"):
        with pytest.raises(InvalidReferenceError, match="one file"):
            resolve(text, sha256=SUM)


def test_a_checksum_is_computed_once_until_the_file_changes(here: Path, watched: Watched) -> None:
    path = here / "Model.GGUF"
    resolve(path, sha256=SUM, progress=watched)
    assert watched.told[-1] == (len(CONTENT), len(CONTENT), "checking Model.GGUF")
    watched.told.clear()
    resolve(path, sha256=SUM, progress=watched)
    assert watched.told == []
    times = path.stat()
    path.write_bytes(b"X" + CONTENT[1:])  # as long, and made to look as old
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ChecksumError):
        resolve(path, sha256=SUM)


def test_a_checksum_works_without_a_cache(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "file").write_text("in the way")
    monkeypatch.setenv("LLAMAFORGE_CACHE", str(here / "file" / "cache"))
    assert resolve("Model.GGUF", sha256=SUM).path == here / "Model.GGUF"
