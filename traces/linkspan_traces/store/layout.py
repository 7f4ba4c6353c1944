"""The tables of the SQLite file, and the way from each older layout to this one.

`PRAGMA user_version` counts the layouts. `traces`, `facets` and `links` are made from `spans` and
hold nothing of their own but the times of arrival; they are written in the same transaction.
"""

import sqlite3
from typing import Final

_FIRST: Final = """
    CREATE TABLE traces (
        trace_id        TEXT PRIMARY KEY,
        name            TEXT NOT NULL,
        service         TEXT NOT NULL,
        start_nanos     INTEGER NOT NULL,
        duration_nanos  INTEGER NOT NULL,
        spans           INTEGER NOT NULL,
        errors          INTEGER NOT NULL,
        open_spans      INTEGER NOT NULL,
        status          TEXT NOT NULL,
        stitch          TEXT NOT NULL,
        session         TEXT NOT NULL,
        method          TEXT NOT NULL,
        tool            TEXT NOT NULL,
        services        TEXT NOT NULL,
        received_millis INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX traces_by_start ON traces (start_nanos, trace_id);
    CREATE INDEX traces_by_arrival ON traces (received_millis, trace_id);
    CREATE TABLE facets (
        field    TEXT NOT NULL,
        value    TEXT NOT NULL,
        trace_id TEXT NOT NULL REFERENCES traces ON DELETE CASCADE,
        PRIMARY KEY (field, value, trace_id)
    ) WITHOUT ROWID;
    CREATE INDEX facets_of_trace ON facets (trace_id);
    CREATE TABLE resources (
        resource_id INTEGER PRIMARY KEY,
        body        TEXT NOT NULL UNIQUE
    );
    CREATE TABLE spans (
        trace_id         TEXT NOT NULL,
        span_id          TEXT NOT NULL,
        parent_id        TEXT NOT NULL,
        name             TEXT NOT NULL,
        kind             TEXT NOT NULL,
        service          TEXT NOT NULL,
        instance         TEXT NOT NULL,
        start_nanos      INTEGER NOT NULL,
        end_nanos        INTEGER NOT NULL,
        status           TEXT NOT NULL,
        failure          TEXT NOT NULL,
        parent_is_remote INTEGER,
        session          TEXT NOT NULL,
        method           TEXT NOT NULL,
        tool             TEXT NOT NULL,
        starts           TEXT NOT NULL,
        resource_id      INTEGER NOT NULL REFERENCES resources,
        body             TEXT NOT NULL,
        PRIMARY KEY (trace_id, span_id)
    );
    CREATE INDEX spans_of_resource ON spans (resource_id);
    CREATE TABLE links (
        trace_id        TEXT NOT NULL,
        span_id         TEXT NOT NULL,
        place           INTEGER NOT NULL,
        target_trace_id TEXT NOT NULL,
        target_span_id  TEXT NOT NULL,
        PRIMARY KEY (trace_id, span_id, place)
    ) WITHOUT ROWID;
    CREATE INDEX links_to ON links (target_trace_id)
"""

_MIGRATIONS: Final = (_FIRST,)
"""What takes the file from each version of its layout to the next."""


class LayoutTooNewError(Exception):
    """A newer version of Linkspan made the file; it was left as it is."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to this layout, in one transaction.

    Args:
        connection: Open, and in autocommit mode.

    Raises:
        LayoutTooNewError: It has a later one.
        sqlite3.Error: It stays as it was.
    """
    connection.execute("BEGIN IMMEDIATE")  # two processes may open a new file at once
    try:
        _bring_up(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _bring_up(connection: sqlite3.Connection) -> None:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        raise LayoutTooNewError
    for migration in _MIGRATIONS[version:]:
        for statement in migration.split(";"):
            connection.execute(statement)
    if version < len(_MIGRATIONS):
        connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")
