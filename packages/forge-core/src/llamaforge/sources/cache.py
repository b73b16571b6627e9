"""The folder for fetched models, and writing into folders so that nothing is ever there by half."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

CACHE_VARIABLE = "LLAMAFORGE_CACHE"


def cache_folder() -> Path:
    """Where fetched models are kept: ``LLAMAFORGE_CACHE``, or the platform's own cache folder. It may not exist yet."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("llamaforge", appauthor=False)) / "models"


@contextlib.contextmanager
def atomic_file(path: Path, *, staging: Path | None = None, private: bool = False) -> Iterator[IO[bytes]]:
    """A file to write that takes *path*'s place once the block ends well, and vanishes when it raises.

    The content is on the disk before the name is: a crash leaves the old file or the new one, whole.

    Args:
        path: the file's final place; its folder must be there.
        staging: a folder on the same disk for the temporary file; left out, *path*'s own folder.
        private: mode 600, whatever the umask is.

    Raises OSError.
    """
    temporary = (staging or path.parent) / f".{path.name[:40]}.{os.getpid()}-{os.urandom(4).hex()}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name in *folder* survive a power cut, where the system can."""
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
