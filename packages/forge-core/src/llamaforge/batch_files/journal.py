"""The files that a batch writes: lines are only ever appended, so that what is there survives any crash."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from ..errors import BatchFileError
from ..files import atomic_file, check_regular, file_lock

MARK: Final = "llamaforge"
"""The field of a line that is ours: ``{"key": ...}``."""
_SYNC: Final = 5.0
"""Seconds after which what was written is put on the disk."""
_CHUNK: Final = 1 << 16
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND


class Written(msgspec.Struct):
    """What a line that a batch has written says of its row."""

    custom_id: str | None = None
    llamaforge: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """As :attr:`.rows.Row.name`."""
        return self.custom_id if self.custom_id is not None else f"\0line {self.llamaforge.get('line')}"

    @property
    def key(self) -> bytes:
        """As :meth:`.rows.Row.key`. Raises ValueError for a line of another program."""
        key = bytes.fromhex(str(self.llamaforge.get("key", "")))
        if len(key) != 8:
            raise ValueError("no key")
        return key


_read_line = msgspec.json.Decoder(Written).decode


class Journal:
    """A file to which whole lines are appended.

    Opening it repairs its end: a last line without a line break is what a crash left. If it is whole, it gets its line
    break; otherwise it is cut off, and its row is done again.

    Raises BatchFileError where the file can't be written, isn't one, or another run writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.repaired = 0
        """Bytes that were cut off."""
        self._stack = contextlib.ExitStack()
        self._synced = time.monotonic()
        try:
            check_regular(path)
            lock = path.with_name(f".{path.name}.lock")
            try:
                self._stack.enter_context(file_lock(lock, 0))
            except TimeoutError:
                raise BatchFileError(f"Another run is writing {path}. Wait for its end.", str(path)) from None
            self._file = os.open(path, _FLAGS, 0o666)
            self._stack.callback(lambda: os.close(self._file))
            self._repair()
        except OSError as error:
            self._stack.close()
            raise self._unwritable(error) from error
        except BaseException:
            self._stack.close()
            raise

    def lines(self) -> Iterator[tuple[bytes, Written]]:
        """What is in the file. Raises BatchFileError for a line that no batch of ours has written."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    written = _read_line(line)
                    _ = written.key
                except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
                    message = (
                        f"{self.path}, line {number}, was not written by a batch: "
                        "choose another output file, or remove that line."
                    )
                    raise BatchFileError(message, str(self.path), number) from None
                yield line, written

    def append(self, lines: bytes) -> None:
        """Append one line or several, with their line breaks. Raises BatchFileError where they can't be written."""
        try:
            written = os.write(self._file, lines)
            while written < len(lines):
                written += os.write(self._file, lines[written:])
            if time.monotonic() - self._synced > _SYNC:
                self.sync()
        except OSError as error:
            raise self._unwritable(error) from error

    def sync(self) -> None:
        """Put what was written on the disk."""
        os.fsync(self._file)
        self._synced = time.monotonic()

    def keep(self, wanted: Callable[[int, Written], bool]) -> None:
        """Leave only the lines for which ``wanted(number, written)`` is true; a crash leaves the file old or new."""
        try:
            with atomic_file(self.path) as file:
                for number, (line, written) in enumerate(self.lines(), 1):
                    if wanted(number, written):
                        file.write(line)
            old, self._file = self._file, os.open(self.path, _FLAGS, 0o666)
            os.close(old)
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Put everything on the disk and let go of the file."""
        with contextlib.suppress(OSError):
            self.sync()
        self._stack.close()

    def _repair(self) -> None:
        end = size = os.fstat(self._file).st_size
        tail = b""
        while end and b"\n" not in tail:
            start = max(0, end - _CHUNK)
            tail = os.pread(self._file, end - start, start) + tail
            end = start
        last = tail[tail.rfind(b"\n") + 1 :]
        if not last:
            return
        try:
            _read_line(last)
        except (msgspec.DecodeError, UnicodeDecodeError):
            os.ftruncate(self._file, size - len(last))
            self.repaired = len(last)
        else:
            os.write(self._file, b"\n")

    def _unwritable(self, error: OSError) -> BatchFileError:
        return BatchFileError(f"{self.path} can't be written: {error.strerror or error}.", str(self.path))
