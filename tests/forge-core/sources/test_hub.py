"""Files and repositories of the hub, through the real huggingface_hub and a server on this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from llamaforge.errors import (
    ChecksumError,
    DownloadError,
    InvalidReferenceError,
    MissingDependencyError,
    SourceNotFoundError,
)
from llamaforge.sources import pull, resolve

from .conftest import Watched
from .hub_server import Hub

MODEL = b"GGUF" + os.urandom(100_000)
SUM = hashlib.sha256(MODEL).hexdigest()
FILE = "hf:org/repo/sub/model.Q4.gguf"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub, and huggingface_hub pointed at it: by its constants, for it reads the environment when it is imported."""
    hub = Hub()
    hub.repositories["org/repo"] = {"config.json": b"{}", "sub/model.Q4.gguf": MODEL}
    home = tmp_path / "hf"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    for name, value in {
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_canarycanarycanarycanarycanarycana")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield hub
    hub.close()


def test_a_file_is_fetched_once_and_found_without_a_network(
    hub: Hub, watched: Watched, capfd: pytest.CaptureFixture[str]
) -> None:
    model = resolve(f"{FILE}@main", sha256=SUM, progress=watched)
    assert model.path is not None
    assert model.path.read_bytes() == MODEL
    assert (model.location, model.revision, model.scheme) == (str(model.path), "main", "hf")
    assert (model.suffix, model.is_hub_id) == (".gguf", False)
    told = watched.about("downloading model.Q4.gguf")
    assert (told[0][:2], told[-1][:2]) == ((0, None), (len(MODEL), len(MODEL)))
    asked = len(hub.requests)
    for offline in (False, True):
        again = resolve(FILE, sha256=SUM, offline=offline)
        assert (again.path, again.revision) == (model.path, None)
    assert len(hub.requests) == asked
    hub.close()
    assert resolve(FILE).path == model.path
    assert capfd.readouterr() == ("", "")


def test_revisions(hub: Hub) -> None:
    for revision in ("v1", "refs/pr/1", Hub.COMMIT):
        model = resolve(f"{FILE}@{revision}")
        assert model.revision == revision
        assert model.path is not None
        assert model.path.read_bytes() == MODEL


def test_refresh_asks_for_what_is_new(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(FILE)
    new = b"GGUF" + bytes(10)
    hub.repositories["org/repo"]["sub/model.Q4.gguf"] = new
    later = Hub.COMMIT[::-1]
    monkeypatch.setattr(hub, "COMMIT", later)
    assert resolve(FILE).path.read_bytes() == MODEL  # type: ignore[union-attr]
    assert resolve(FILE, refresh=True).path.read_bytes() == new  # type: ignore[union-attr]


def test_a_repository_is_an_id_until_it_is_pulled(hub: Hub, watched: Watched) -> None:
    model = resolve("hf:org/repo@v1")
    assert (model.location, model.path, model.revision, model.is_hub_id) == ("org/repo", None, "v1", True)
    assert hub.requests == []
    pulled = pull("hf:org/repo@v1", progress=watched)
    assert pulled.path is not None
    assert pulled.has_file("config.json")
    assert (pulled.path / "sub" / "model.Q4.gguf").read_bytes() == MODEL
    assert pulled.revision == "v1"
    assert watched.told[-1] == (len(MODEL) + 2, len(MODEL) + 2, "downloading org/repo")
    hub.close()
    assert pull("hf:org/repo@v1", offline=True).path == pulled.path
    assert pull(FILE + "@v1").path == pulled.path / "sub" / "model.Q4.gguf"


@pytest.mark.parametrize(
    ("reference", "kind", "says"),
    [
        ("hf:org/nothing/x.gguf", SourceNotFoundError, "no repository org/nothing, or it is private"),
        ("hf:org/repo/model.Q8.gguf", SourceNotFoundError, "Did you mean sub/model.Q4.gguf"),
        ("hf:org/repo/sub", SourceNotFoundError, "has no file 'sub'"),
        (f"{FILE}@v9", SourceNotFoundError, "no branch, tag or commit 'v9'"),
        ("hf:org/gated/x.gguf", DownloadError, "gated"),
        ("hf:org/forbidden/x.gguf", DownloadError, r"\(HTTP 403\)"),
        ("hf:org/moved/x.gguf", DownloadError, r"\(HTTP 410\)"),
    ],
)
def test_errors_are_told_apart(hub: Hub, reference: str, kind: type[Exception], says: str) -> None:
    hub.gated.add("org/gated")
    hub.broken |= {"org/forbidden": 403, "org/moved": 410}
    for fetch in (resolve, pull):
        with pytest.raises(kind, match=says) as caught:
            fetch(reference)
        assert caught.value.reference == reference  # type: ignore[attr-defined]
        assert "hf_canary" not in str(caught.value)


def test_pulling_what_is_not_there(hub: Hub) -> None:
    with pytest.raises(SourceNotFoundError, match="no repository"):
        pull("hf:org/nothing")
    with pytest.raises(SourceNotFoundError, match="no branch"):
        pull("hf:org/repo@v9")


def test_the_server_is_gone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.close()
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between huggingface_hub's retries
    for fetch, reference in ((resolve, FILE), (pull, "hf:org/repo")):
        with pytest.raises(DownloadError, match="ConnectError"):
            fetch(reference)


def test_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for fetch, reference in ((resolve, FILE), (pull, "hf:org/repo")):
        with pytest.raises(DownloadError, match=r"switched off \(offline\)"):
            fetch(reference, offline=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for fetch, reference in ((resolve, FILE), (pull, "hf:org/repo")):
        with pytest.raises(DownloadError, match=r"switched off \(HF_HUB_OFFLINE\)"):
            fetch(reference)
    assert hub.requests == []


def test_offline_by_the_environment_and_a_real_endpoint_variable(hub: Hub, tmp_path: Path) -> None:
    """The variables as users set them, in a process of its own."""
    program = f"""
        from llamaforge.sources import resolve
        from llamaforge.errors import DownloadError
        try:
            print(resolve({FILE!r}).path.read_bytes()[:4])
        except DownloadError as error:
            print("HF_HUB_OFFLINE" in error.reason)
    """
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    said = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            env={**os.environ, **settings, "HF_HUB_OFFLINE": offline},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for offline in ("1", "0", "1")
    ]
    assert said == ["True", "b'GGUF'", "b'GGUF'"]


def test_another_content_than_expected(hub: Hub) -> None:
    with pytest.raises(ChecksumError) as caught:
        resolve(FILE, sha256=SUM[::-1])
    assert caught.value.actual == SUM
    with pytest.raises(InvalidReferenceError, match="one file"):
        pull("hf:org/repo", sha256=SUM)


def test_a_download_that_is_cut_off(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.cut_at = 1000
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between huggingface_hub's retries
    with pytest.raises(DownloadError):
        resolve(FILE)
    hub.cut_at = None
    assert resolve(FILE, sha256=SUM).path.read_bytes() == MODEL  # type: ignore[union-attr]


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert resolve("hf:org/repo").location == "org/repo"
    for fetch, reference in ((resolve, FILE), (pull, "hf:org/repo")):
        with pytest.raises(MissingDependencyError) as caught:
            fetch(reference)
        assert (caught.value.package, caught.value.command) == ("huggingface_hub", "pip install huggingface_hub")


def test_a_huggingface_hub_that_takes_no_bar_stays_silent(
    hub: Hub, watched: Watched, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its first versions can't be told which bar to use for one file."""
    real = huggingface_hub.hf_hub_download

    def older(repo_id: str, filename: str, *, revision: str | None = None, local_files_only: bool = False) -> str:
        return real(repo_id, filename, revision=revision, local_files_only=local_files_only)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", older)
    monkeypatch.setenv("TQDM_POSITION", "-1")  # draws even where there is no terminal
    assert resolve(FILE, sha256=SUM, progress=watched).is_file
    assert watched.told[0] == (0, None, "downloading model.Q4.gguf")
    assert capfd.readouterr() == ("", "")


def test_a_split_model_is_fetched_with_all_parts_and_one_progress(hub: Hub, watched: Watched) -> None:
    sizes = (50_000, 30_000, 20_000)
    names = [f"q/big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    hub.repositories["org/repo"] |= {name: b"G" * size for name, size in zip(names, sizes, strict=True)}
    found = resolve(f"hf:org/repo/{names[0]}", progress=watched)
    assert found.path is not None
    assert [found.path.with_name(Path(name).name).stat().st_size for name in names] == list(sizes)
    told = watched.about("downloading")
    assert {total for _, total, _ in told} == {sum(sizes)}
    assert len({what for _, _, what in told}) == 1
    counts = [done for done, _, _ in told]
    assert counts == sorted(counts)
    assert counts[-1] == sum(sizes)
    assert resolve(f"hf:org/repo/{names[0]}", offline=True).path == found.path


def test_a_later_part_and_a_checksum_of_a_split_model_are_refused(hub: Hub) -> None:
    with pytest.raises(InvalidReferenceError, match=r"part 2 of a model in 3 files.*big-00001-of-00003\.gguf@v1"):
        resolve("hf:org/repo/q/big-00002-of-00003.gguf@v1")
    with pytest.raises(InvalidReferenceError, match="in 3 files"):
        resolve("hf:org/repo/q/big-00001-of-00003.gguf", sha256=SUM)


def test_a_part_that_is_not_there_is_named(hub: Hub) -> None:
    hub.repositories["org/repo"]["big-00001-of-00002.gguf"] = b"G"
    with pytest.raises(SourceNotFoundError, match="big-00002-of-00002"):
        resolve("hf:org/repo/big-00001-of-00002.gguf")


def test_a_cache_of_the_hub_that_cannot_be_written(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(DownloadError, match=r"file/hub can't be written.*HF_HUB_CACHE"):
        resolve(FILE)
