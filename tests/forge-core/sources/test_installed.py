"""Data of installed packages, found without running their code."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from llamaforge.errors import InvalidReferenceError, SourceNotFoundError
from llamaforge.sources import resolve


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that must not be imported, a single module, and the metadata of the distribution of both."""
    site = tmp_path / "site"
    package = site / "forge_test_data"
    (package / "inner" / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('this package was imported')")
    (package / "inner" / "__init__.py").write_text("raise SystemExit('this package was imported')")
    (package / "llama.gguf").write_bytes(b"GGUF")
    (package / "inner" / "deep" / "small.gguf").write_bytes(b"GGUF")
    (site / "forge_test_module.py").write_text("raise SystemExit('this module was imported')")
    info = site / "forge_test_dist-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: forge-test-dist\nVersion: 1.0\n")
    (info / "RECORD").write_text("forge_test_data/__init__.py,,\nforge_test_module.py,,\n")
    monkeypatch.syspath_prepend(str(site))
    return package


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("pkg:forge_test_data/llama.gguf", "llama.gguf"),
        ("pkg:forge_test_data/inner/deep/small.gguf", "inner/deep/small.gguf"),
        ("pkg:forge_test_data.inner/deep/small.gguf", "inner/deep/small.gguf"),
        ("pkg:forge_test_data/inner", "inner"),
    ],
)
def test_a_file_of_a_package(installed: Path, text: str, file: str) -> None:
    model = resolve(text, offline=True)
    assert model.path == installed / file
    assert model.location == str(installed / file)
    assert model.scheme == "pkg"
    assert "forge_test_data" not in sys.modules


def test_a_namespace_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("one", "two"):
        (tmp_path / part / "forge_test_space").mkdir(parents=True)
        (tmp_path / part / "forge_test_space" / f"{part}.gguf").write_bytes(b"GGUF")
        monkeypatch.syspath_prepend(str(tmp_path / part))
    for part in ("one", "two"):
        assert (
            resolve(f"pkg:forge_test_space/{part}.gguf").path == tmp_path / part / "forge_test_space" / f"{part}.gguf"
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pkg:forge_test_data/lama.gguf", "Did you mean 'pkg:forge_test_data/llama.gguf'"),
        ("pkg:forge_test_data/small.gguf", "Did you mean 'pkg:forge_test_data/inner/deep/small.gguf'"),
        ("pkg:forge_test_dat/llama.gguf", "no package 'forge_test_dat' .*Did you mean 'forge_test_data'"),
        ("pkg:forge-test-dist/llama.gguf", "is a distribution; its packages are: 'forge_test_data'"),
        ("pkg:qqqqzzzz/llama.gguf", "Install it, or use pypi:"),
        ("pkg:forge_test_data.nothing/llama.gguf", "has no 'llama.gguf'"),
    ],
)
def test_what_is_missing(installed: Path, text: str, says: str) -> None:
    with pytest.raises(SourceNotFoundError, match=says):
        resolve(text)
    assert "forge_test_data" not in sys.modules


def test_a_module_holds_no_files(installed: Path) -> None:
    with pytest.raises(InvalidReferenceError, match="a single module"):
        resolve("pkg:forge_test_module/x.gguf")


def test_a_package_in_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "site.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("forge_test_zipped/__init__.py", "")
        file.writestr("forge_test_zipped/x.gguf", b"GGUF")
    monkeypatch.syspath_prepend(str(archive))
    with pytest.raises(SourceNotFoundError, match="Unpack it"):
        resolve("pkg:forge_test_zipped/x.gguf")
