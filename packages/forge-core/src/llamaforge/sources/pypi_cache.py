"""The cache of files from wheels, below :func:`~llamaforge.sources.cache.cache_folder`::

pypi/<distribution>/.lock                      held while anything below changes
pypi/<distribution>/.staging-*/                what is being fetched; removed when it is done, or by the next one
pypi/<distribution>/<version>/files/<path>     the file, complete, by its path in the wheel
pypi/<distribution>/<version>/known/<key>.json what is known of it: path, size, sha256; written after the file. Of a
                                               folder: its path and the paths of its files, written after them all
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..errors import ChecksumError
from .cache import cache_folder
from .split import parts_of
from .versions import is_prerelease, matches, sort_key


@dataclass(frozen=True, slots=True)
class WheelFile:
    """What a ``pypi:`` reference asks for: distribution (normalized), version or None, and the file in the wheel.

    *file* is a path in the wheel, or just the file's name where no other file of the wheel has that name. If
    *is_folder* is true, it is the path of a folder, without a slash at its end.
    """

    text: str
    distribution: str
    version: str | None
    file: str
    sha256: str | None
    is_folder: bool = False

    @property
    def asked(self) -> str:
        """The file or folder as the reference has it, by which it is remembered."""
        return f"{self.file}/" if self.is_folder else self.file

    @property
    def requirement(self) -> str:
        """As pip takes it: ``name`` or ``name==version``."""
        return f"{self.distribution}=={self.version}" if self.version else self.distribution


@dataclass(frozen=True, slots=True)
class CachedFile:
    """A file or folder in the cache. Attributes: *path*; *sha256*, empty for a folder; *size* in bytes."""

    path: Path
    sha256: str
    size: int


class Store:
    """The cache of one distribution."""

    def __init__(self, distribution: str) -> None:
        self.folder = cache_folder() / "pypi" / distribution
        self.distribution = distribution

    def versions(self) -> list[str]:
        """The versions that have been fetched, newest first, final releases before pre-releases as pip has it."""
        try:
            names = [entry.parent.name for entry in self.folder.glob("*/known")]
        except OSError:
            return []
        found = [name for name in names if sort_key(name) is not None]
        return sorted(found, key=lambda version: (not is_prerelease(version), sort_key(version) or ()), reverse=True)

    def file(self, version: str, path: str) -> Path:
        """Where the file of that path in the wheel belongs."""
        return self.folder.joinpath(version, "files", *path.split("/"))

    def note(self, version: str, asked: str) -> Path:
        """Where what is known of the file is written, by the path or name that was asked for."""
        return self.folder / version / "known" / f"{sha256(asked.encode()).hexdigest()[:40]}.json"

    def known(self, version: str, asked: str) -> CachedFile | None:
        """The cached file or folder; None if there is none, or if a size has changed.

        The first part of a split model counts only together with all others, a folder only with all its files.
        """
        if asked.endswith("/"):
            return self._known_folder(version, asked)
        found = self._known(version, asked)
        if found is not None:
            inside = found.path.relative_to(self.file(version, "")).as_posix()
            if any(self._known(version, part) is None for part in parts_of(inside)[1:]):
                return None
        return found

    def _known(self, version: str, asked: str) -> CachedFile | None:
        try:
            note = json.loads(self.note(version, asked).read_bytes())
            found = CachedFile(self.file(version, note["path"]), note["sha256"], note["size"])
            return found if found.path.stat().st_size == found.size else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _known_folder(self, version: str, asked: str) -> CachedFile | None:
        try:
            paths = json.loads(self.note(version, asked).read_bytes())["files"]
            files = [self._known(version, path) for path in paths]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        there = [file for file in files if file is not None]
        if not there or len(there) < len(files):
            return None
        return CachedFile(self.file(version, asked[:-1]), "", sum(file.size for file in there))

    def write_folder_note(self, version: str, asked: str, files: list[str], staging: Path) -> None:
        """Remember that all *files* of the folder *asked*, by their paths in the wheel, are here. Raises OSError."""
        self._write(version, asked, {"path": asked[:-1], "files": files}, staging)

    def write_note(self, version: str, asked: str, path: str, found: CachedFile, staging: Path) -> None:
        """Remember *found*; *staging* holds the temporary file. Raises OSError."""
        self._write(version, asked, {"path": path, "size": found.size, "sha256": found.sha256}, staging)

    def _write(self, version: str, asked: str, told: dict[str, Any], staging: Path) -> None:
        from ..files import atomic_file

        note = self.note(version, asked)
        note.parent.mkdir(parents=True, exist_ok=True)
        content = {"distribution": self.distribution, "version": version, **told}
        with atomic_file(note, staging=staging) as file:
            file.write(json.dumps(content, indent=1).encode())

    def find(self, wanted: WheelFile, *, last_word: bool) -> CachedFile | None:
        """The cached file that answers *wanted*, or None.

        Without a version and a checksum it is the newest cached version's and no other's, so that two files of one
        distribution don't come from two versions; *last_word* says that the network can't be asked, and then an older
        version's is better than none.

        Raises ChecksumError where only files with another SHA-256 are here and asking anew would not help.
        """
        other: CachedFile | None = None
        for version in self.versions():
            if wanted.version is not None and not matches(version, wanted.version):
                continue
            found = self.known(version, wanted.asked)
            if found is not None and wanted.sha256 in (None, found.sha256):
                return found
            if found is None and wanted.version is None and wanted.sha256 is None and not last_word:
                return None
            other = other or found
        if other is not None and wanted.sha256 is not None and (wanted.version is not None or last_word):
            raise ChecksumError(wanted.text, wanted.sha256, other.sha256)
        return None
