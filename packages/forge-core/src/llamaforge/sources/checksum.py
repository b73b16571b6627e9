"""Check a local file's SHA-256, and remember it while the file stays as it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from ..errors import ChecksumError, SourceNotFoundError
from ..files import atomic_file
from .cache import cache_folder
from .spec import Progress

_CHUNK = 1 << 20


def verify(reference: str, path: Path, expected: str, progress: Progress | None = None) -> None:
    """Raise ChecksumError unless the SHA-256 of the file at *path* is *expected* (lower-case hexadecimal).

    A large file takes seconds to read, so the sum is noted in the cache folder together with what changes whenever
    the file does: size, times of modification and status change, inode.
    """
    try:
        actual = _noted(path) or _compute(path, progress)
    except OSError as error:
        raise SourceNotFoundError(reference, f"the file can't be read: {error.strerror or error}") from error
    if actual != expected:
        raise ChecksumError(reference, expected, actual, str(path))


def _note(path: Path) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:40]
    return cache_folder() / "checked" / f"{name}.json"


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _noted(path: Path) -> str | None:
    try:
        note = json.loads(_note(path).read_bytes())
        return str(note["sha256"]) if note["stamp"] == _stamp(path) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _compute(path: Path, progress: Progress | None) -> str:
    before = _stamp(path)
    digest, done = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, before[0], f"checking {path.name}")
    actual = digest.hexdigest()
    if _stamp(path) == before:
        note = _note(path)
        with contextlib.suppress(OSError):  # a cache that can't be written only costs time
            note.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(note) as file:
                file.write(json.dumps({"path": str(path), "sha256": actual, "stamp": before}).encode())
    return actual
