"""Atomic writes that replace only regular files, and locks that never wait forever."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

_KINDS: Final = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)
_POLL: Final = 0.05
"""Seconds between two looks at a lock that another process holds."""


def check_regular(path: Path) -> None:
    """Raise OSError, with what is there, unless *path* is a regular file or doesn't exist.

    Call this before writing a file, since replacing a device such as ``/dev/null`` as root breaks the machine, and
    before reading one, since a pipe or a device may have no end.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else _kind(mode)
        raise OSError(errno.EINVAL, f"{kind} is there, not a regular file", str(path))


def special_file(path: Path) -> str | None:
    """What is at *path* if it is neither a file nor a folder: "a device", "a named pipe", "a socket". Otherwise None.

    Reading such a thing may never end.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return None
    return None if stat.S_ISREG(mode) or stat.S_ISDIR(mode) else _kind(mode)


def _kind(mode: int) -> str:
    return next((words for test, words in _KINDS if test(mode)), "something else")


def is_null_device(path: Path) -> bool:
    """Whether *path* is the null device, by which programs are told to use no file at all."""
    try:
        return path.samefile(os.devnull)
    except OSError:
        return False


@contextlib.contextmanager
def atomic_file(path: Path, *, staging: Path | None = None, private: bool = False) -> Iterator[IO[bytes]]:
    """A temporary file that replaces *path* when the block ends, and is deleted if it raises.

    The content is on the disk before the name changes: a crash leaves either the old or the new file complete.

    Args:
        path: the file's final place; its folder must exist.
        staging: a folder on the same disk for the temporary file. Default: *path*'s own folder.
        private: mode 600, whatever the umask is.

    Raises OSError, also if *path* is a device, a folder or anything else than a regular file.
    """
    check_regular(path)
    temporary = (staging or path.parent) / f".{path.name[:40]}.{os.getpid()}-{os.urandom(4).hex()}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, 0o600 if private else 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        check_regular(path)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def file_lock(path: Path, timeout: float, *, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the lock file *path* against other processes and threads.

    Args:
        path: the lock file; its folder must exist. The file stays when the lock is released.
        timeout: seconds to wait while another process or thread holds it.
        waiting: called between two tries; an exception ends the wait. A true result restarts the timeout, because the
            other process makes progress.

    Raises TimeoutError if it is still held, and OSError at once if the lock can't be created: a folder that is not
    writable would otherwise look like a lock that is held forever.
    """
    import filelock

    check_regular(path)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
    lock = filelock.FileLock(path)
    deadline = time.monotonic() + timeout
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except filelock.Timeout:
            if waiting is not None and waiting():
                deadline = time.monotonic() + timeout
            if time.monotonic() >= deadline:
                raise TimeoutError(
                    errno.ETIMEDOUT, f"another process has held this lock file for {timeout:g} s", str(path)
                ) from None
            time.sleep(_POLL)
    try:
        yield
    finally:
        lock.release()


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
