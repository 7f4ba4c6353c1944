"""The storage of sessions as rows of SQLite.

Above lies `sqlite_sessions`, which makes the units of work; every function here is part of one.
"""

import sqlite3
from collections.abc import Mapping

from linkspan_session.store.base import SessionId
from linkspan_session.store.sqlite_records import Usage


def put(
    connection: sqlite3.Connection,
    session_id: SessionId,
    values: Mapping[str, bytes | None],
    usage: Usage,
) -> None:
    """Set values; None deletes."""
    for name, value in values.items():
        key = (session_id, name)
        row = connection.execute(
            "SELECT length(value) FROM storage WHERE session_id = ? AND name = ?", key
        ).fetchone()
        if row is not None:
            usage.storage_bytes -= row[0]
        if value is None:
            connection.execute("DELETE FROM storage WHERE session_id = ? AND name = ?", key)
            continue
        connection.execute(
            "INSERT INTO storage (session_id, name, value) VALUES (?, ?, ?) "
            "ON CONFLICT DO UPDATE SET value = excluded.value",
            (*key, value),
        )
        usage.storage_bytes += len(value)


def select_all(connection: sqlite3.Connection, session_id: SessionId) -> dict[str, bytes]:
    """Return all values, by name."""
    return dict(
        connection.execute("SELECT name, value FROM storage WHERE session_id = ?", (session_id,))
    )
