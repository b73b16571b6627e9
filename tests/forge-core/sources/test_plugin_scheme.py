"""A source that a plugin adds, from real metadata on the import path."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llamaforge.errors import (
    BrokenPluginError,
    ChecksumError,
    DownloadError,
    InvalidReferenceError,
    SourceNotFoundError,
)
from llamaforge.plugins import SOURCES
from llamaforge.sources import pull, resolve

from .conftest import Watched

PLUGIN = """
    from llamaforge.hookspecs import hookimpl
    from llamaforge.sources import SourceSpec

    @hookimpl
    def llamaforge_source(name):
        return SourceSpec(scheme=name, target="forge_test_source.fetch:fetch", description="for tests", {more})
"""
FETCH = """
    from pathlib import Path
    from llamaforge.errors import SourceNotFoundError
    from llamaforge.sources import ResolvedModel

    def fetch(reference, /, *, progress, offline, refresh):
        if reference.target == "missing":
            raise SourceNotFoundError(reference.text, "the plugin says so")
        if reference.target == "crash":
            raise OSError("canary at https://me:canary@example.org")
        if reference.target == "wrong":
            return "a path"
        path = Path(__file__).with_name(reference.target)
        if progress is not None:
            progress(1, 2, f"{offline} {refresh}")
        return ResolvedModel(reference.text, str(path), path, None, reference.scheme)

    def pull(reference, /, *, progress, offline, refresh):
        return ResolvedModel(reference.text, "pulled", None, None, reference.scheme)
"""
SUM_OF_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    def install(plugin: str = PLUGIN, fetch: str = FETCH, more: str = "") -> None:
        package = tmp_path / "forge_test_source"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(textwrap.dedent(plugin).format(more=more))
        (package / "fetch.py").write_text(textwrap.dedent(fetch))
        (package / "empty.gguf").write_bytes(b"")
        info = tmp_path / "forge_test_source-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: forge-test-source\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[llamaforge.sources]\ntape = forge_test_source.plugin\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        SOURCES.refresh()

    yield install
    monkeypatch.undo()
    for name in [name for name in sys.modules if name.startswith("forge_test_source")]:
        del sys.modules[name]
    SOURCES.refresh()


def test_a_plugins_scheme(install: Callable[..., None], tmp_path: Path, watched: Watched) -> None:
    install()
    assert "forge_test_source.plugin" not in sys.modules
    model = resolve("tape:empty.gguf", progress=watched, offline=True)
    assert (model.path, model.scheme) == (tmp_path / "forge_test_source" / "empty.gguf", "tape")
    assert watched.told == [(1, 2, "True False")]
    assert resolve("TAPE:empty.gguf", sha256=SUM_OF_EMPTY).path == model.path
    assert pull("tape:empty.gguf").path == model.path


def test_pulling_through_a_function_of_its_own(install: Callable[..., None]) -> None:
    install(more="pull_target='forge_test_source.fetch:pull'")
    assert pull("tape:empty.gguf").location == "pulled"
    assert resolve("tape:empty.gguf").location != "pulled"


def test_its_answer_is_checked(install: Callable[..., None]) -> None:
    install()
    with pytest.raises(ChecksumError):
        resolve("tape:empty.gguf", sha256=SUM_OF_EMPTY[::-1])
    with pytest.raises(SourceNotFoundError, match="doesn't exist"):
        resolve("tape:gone.gguf", sha256=SUM_OF_EMPTY)
    with pytest.raises(BrokenPluginError, match=r"forge-test-source.* returned str"):
        resolve("tape:wrong")


def test_its_errors_are_ours(install: Callable[..., None]) -> None:
    install()
    with pytest.raises(SourceNotFoundError, match="the plugin says so"):
        resolve("tape:missing")
    with pytest.raises(DownloadError, match=r"'tape' \(of forge-test-source\) failed with OSError") as caught:
        resolve("tape:crash")
    assert "me:canary" not in str(caught.value)


@pytest.mark.parametrize("broken", ["raise SystemExit(3)", "import nothing_of_that_name", "fetch = {"])
def test_a_broken_one_harms_only_itself(install: Callable[..., None], broken: str, tmp_path: Path) -> None:
    install(fetch=broken)
    with pytest.raises(BrokenPluginError) as caught:
        resolve("tape:empty.gguf")
    assert (caught.value.kind, caught.value.plugin, caught.value.distribution) == (
        "source",
        "tape",
        "forge-test-source",
    )
    assert "Traceback" in caught.value.traceback
    assert resolve(tmp_path).is_folder


def test_an_unknown_scheme_names_the_plugins_too(install: Callable[..., None]) -> None:
    install()
    with pytest.raises(InvalidReferenceError, match="Did you mean tape:"):
        resolve("tapes:x")
