"""The tables of the log, and how an older file becomes one of today.

``PRAGMA user_version`` says how many of the migrations a file has had. Each is applied once, in a transaction. A file
of a later version of LlamaForge is refused, not changed.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from ..errors import LogFileError

MIGRATIONS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE responses (
        id TEXT PRIMARY KEY,
        started REAL NOT NULL,
        operation TEXT NOT NULL,
        backend TEXT NOT NULL,
        model TEXT NOT NULL,
        server TEXT,
        outcome TEXT NOT NULL,
        finish_reason TEXT,
        error_type TEXT,
        error TEXT,
        prompt TEXT,
        messages TEXT,
        texts TEXT,
        answer TEXT,
        reasoning TEXT,
        tool_calls TEXT,
        parameters TEXT NOT NULL,
        prompt_tokens INTEGER,
        completion_tokens INTEGER,
        cached_tokens INTEGER,
        reasoning_tokens INTEGER,
        first_token REAL,
        total REAL
    );
    CREATE INDEX responses_by_time ON responses (started);
    """,
)
"""The statements of each version, oldest first."""


def migrate(connection: sqlite3.Connection, path: str, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Bring a file up to date. Raises LogFileError for one of a later version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise LogFileError(
            path, f"its version is {version}, and this LlamaForge knows {len(migrations)}. Upgrade forge-core."
        )
    if version == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")  # another process may be doing the same
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for number in range(version, len(migrations)):
            for statement in filter(str.strip, migrations[number].split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
