"""The log's file: rows in, rows out."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ..errors import LogFileError
from ..files import check_regular
from .places import log_file
from .schema import migrate

COLUMNS: Final = (
    *("id", "started", "operation", "backend", "model", "server", "outcome", "finish_reason", "error_type", "error"),
    *("prompt", "messages", "texts", "answer", "reasoning", "tool_calls", "parameters"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "first_token", "total"),
)
_SEARCHED: Final = ("prompt", "messages", "texts", "answer", "reasoning", "tool_calls", "error")
_BUSY: Final = 10.0
"""Seconds to wait for another process that writes."""

Entry = dict[str, Any]
"""A row: a value for each of :data:`COLUMNS`."""


class ResponseLog:
    """The log in the file *path*; None: the user's. Thread-safe.

    Raises LogFileError where the file can't be used: it is no log, one of a later version, or it can't be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or log_file()
        self._lock = threading.Lock()
        with self._guarded():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            check_regular(self.path)
            with contextlib.suppress(FileExistsError):  # for its owner's eyes only, from its first byte on
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA secure_delete = ON")  # what is deleted is gone
                migrate(self._connection, str(self.path))
            except BaseException:
                self._connection.close()
                raise
        self._connection.row_factory = sqlite3.Row

    def add(self, entries: Iterable[Entry]) -> None:
        """Write *entries*, in one transaction; one whose id is there already replaces it."""
        marks = ", ".join(f":{name}" for name in COLUMNS)
        statement = f"INSERT OR REPLACE INTO responses ({', '.join(COLUMNS)}) VALUES ({marks})"  # noqa: S608 - our names
        with self._lock, self._guarded():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(statement, entries)
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    def entries(
        self,
        *,
        search: str | None = None,
        model: str | None = None,
        outcome: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> Iterator[Entry]:
        """Entries, the newest first.

        Args:
            search: only those in which this text occurs: in what was asked, what was answered, or the error.
            model: only this model's.
            outcome: only those that ended so.
            since: only those from then on, in seconds since the epoch.
            limit: so many at most.
        """
        conditions, values = ["1"], []
        if search is not None:
            pattern = "%" + search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            conditions.append("(" + " OR ".join(f"{name} LIKE ? ESCAPE '\\'" for name in _SEARCHED) + ")")
            values += [pattern] * len(_SEARCHED)
        for name, value in (("model", model), ("outcome", outcome)):
            if value is not None:
                conditions.append(f"{name} = ?")
                values.append(value)
        if since is not None:
            conditions.append("started >= ?")
            values.append(since)  # type: ignore[arg-type]
        where = " AND ".join(conditions)
        statement = f"SELECT * FROM responses WHERE {where} ORDER BY started DESC, id DESC LIMIT ?"  # noqa: S608 - ours
        with self._guarded():
            cursor = self._connection.execute(statement, [*values, -1 if limit is None else limit])
            while rows := cursor.fetchmany(100):
                yield from map(dict, rows)

    def find(self, beginning: str) -> list[Entry]:
        """The entries whose id begins with *beginning*; the one that is called so alone, if there is one."""
        with self._lock, self._guarded():
            for condition in ("id = :id", "substr(id, 1, length(:id)) = :id"):
                statement = f"SELECT * FROM responses WHERE {condition} ORDER BY started DESC"  # noqa: S608 - ours
                if found := self._connection.execute(statement, {"id": beginning}).fetchall():
                    return [dict(row) for row in found]
            return []

    def delete(self, ids: Iterable[str]) -> int:
        """Delete entries; how many there were."""
        return self._deleted("id = ?", [(each,) for each in ids])

    def purge(self, before: float) -> int:
        """Delete the entries from before then, in seconds since the epoch; how many there were."""
        return self._deleted("started < ?", [(before,)])

    def count(self) -> int:
        """How many entries there are."""
        with self._lock, self._guarded():
            (count,) = self._connection.execute("SELECT count(*) FROM responses").fetchone()
            return int(count)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _deleted(self, condition: str, values: list[tuple[object, ...]]) -> int:
        with self._lock, self._guarded():
            deleted = 0
            self._connection.execute("BEGIN IMMEDIATE")
            for each in values:
                statement = f"DELETE FROM responses WHERE {condition}"  # noqa: S608 - ours
                deleted += self._connection.execute(statement, each).rowcount
            self._connection.execute("COMMIT")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # or what was deleted would stay there
            return deleted

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LogFileError(str(self.path), f"{error}.") from error
        except OSError as error:
            raise LogFileError(str(self.path), f"{error.strerror or error}.") from error
