"""The tables of the SQLite file, and the way from each older layout to this one.

`PRAGMA user_version` counts the layouts. Invariants that the stores keep between tables and rows:
`sessions.log_bytes`, `.storage_bytes` and `.finished_streams` are sums over the session's own rows
in `streams` and `storage`; `principals.open_sessions` counts the sessions that are not closed;
`streams.epoch` is that of the owner that wrote an event last, 0 before the first.
"""

import sqlite3
from typing import Final

_SESSIONS: Final = """
    CREATE TABLE sessions (
        session_id         TEXT PRIMARY KEY,
        record_version     INTEGER NOT NULL,
        issuer             TEXT NOT NULL,
        subject            TEXT NOT NULL,
        resource           TEXT NOT NULL,
        protocol_version   TEXT,
        initialize_params  TEXT,
        initialized        INTEGER NOT NULL DEFAULT 0,
        created_millis     INTEGER NOT NULL,
        last_active_millis INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX sessions_by_creation ON sessions (created_millis, session_id);
"""

_TASKS: Final = """
    CREATE TABLE tasks (
        task_id              TEXT PRIMARY KEY,
        record_version       INTEGER NOT NULL,
        issuer               TEXT NOT NULL,
        subject              TEXT NOT NULL,
        resource             TEXT NOT NULL,
        tool                 TEXT NOT NULL,
        runner               TEXT NOT NULL,
        status               TEXT NOT NULL,
        finished             INTEGER NOT NULL,
        message              TEXT,
        questions            TEXT NOT NULL,
        asked                INTEGER NOT NULL,
        outcome              TEXT,
        created_millis       INTEGER NOT NULL,
        updated_millis       INTEGER NOT NULL,
        expires_millis       INTEGER NOT NULL,
        poll_interval_millis INTEGER NOT NULL,
        version              INTEGER NOT NULL
    );
    CREATE INDEX tasks_by_principal ON tasks (issuer, subject, resource);
    CREATE INDEX tasks_unfinished ON tasks (runner) WHERE NOT finished;
    CREATE INDEX tasks_by_expiry ON tasks (expires_millis);
    CREATE TABLE task_runners (
        runner             TEXT PRIMARY KEY,
        alive_until_millis INTEGER NOT NULL
    ) WITHOUT ROWID;
"""

_STREAMS: Final = """
    CREATE TABLE streams (
        session_id     TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
        stream_id      TEXT NOT NULL,
        request_id     TEXT NOT NULL,
        traceparent    TEXT NOT NULL,
        created_millis INTEGER NOT NULL,
        finished       INTEGER NOT NULL DEFAULT 0,
        last_sequence  INTEGER NOT NULL DEFAULT 0,
        first_sequence INTEGER NOT NULL DEFAULT 1,
        bytes          INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (session_id, stream_id)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        session_id TEXT NOT NULL,
        stream_id  TEXT NOT NULL,
        sequence   INTEGER NOT NULL,
        message    BLOB NOT NULL,
        PRIMARY KEY (session_id, stream_id, sequence),
        FOREIGN KEY (session_id, stream_id) REFERENCES streams ON DELETE CASCADE
    ) WITHOUT ROWID;
"""

# Nobody owns the sessions of an older file, and they expire a day after their last use. Servers
# were alive by dates before, and by leases of this machine's clock since: theirs are given up.
_OWNERSHIP: Final = """
    ALTER TABLE sessions ADD COLUMN owner TEXT NOT NULL DEFAULT '';
    ALTER TABLE sessions ADD COLUMN epoch INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE sessions ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE sessions ADD COLUMN closed TEXT;
    ALTER TABLE sessions ADD COLUMN expires_millis INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN log_level TEXT NOT NULL DEFAULT '';
    ALTER TABLE sessions ADD COLUMN subscriptions TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE sessions ADD COLUMN scratch TEXT NOT NULL DEFAULT '';
    ALTER TABLE sessions ADD COLUMN log_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN storage_bytes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN finished_streams INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE streams ADD COLUMN request_key TEXT NOT NULL DEFAULT '';
    UPDATE sessions SET
        expires_millis = last_active_millis + 24 * 60 * 60 * 1000,
        log_bytes = (SELECT coalesce(sum(bytes), 0) FROM streams
            WHERE streams.session_id = sessions.session_id),
        finished_streams = (SELECT count(*) FROM streams
            WHERE streams.session_id = sessions.session_id AND finished);
    DROP INDEX sessions_by_creation;
    CREATE INDEX sessions_by_creation ON sessions (created_millis, session_id)
        WHERE closed IS NULL;
    CREATE INDEX sessions_to_close ON sessions (expires_millis) WHERE closed IS NULL;
    CREATE INDEX sessions_to_remove ON sessions (expires_millis) WHERE closed IS NOT NULL;
    CREATE INDEX streams_by_request ON streams (session_id, request_key)
        WHERE request_key != '';
    CREATE INDEX streams_finished ON streams (session_id, created_millis) WHERE finished;
    CREATE TABLE principals (
        issuer        TEXT NOT NULL,
        subject       TEXT NOT NULL,
        resource      TEXT NOT NULL,
        open_sessions INTEGER NOT NULL,
        PRIMARY KEY (issuer, subject, resource)
    ) WITHOUT ROWID;
    INSERT INTO principals (issuer, subject, resource, open_sessions)
        SELECT issuer, subject, resource, count(*) FROM sessions
        GROUP BY issuer, subject, resource;
    CREATE TABLE storage (
        session_id TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
        name       TEXT NOT NULL,
        value      BLOB NOT NULL,
        PRIMARY KEY (session_id, name)
    ) WITHOUT ROWID;
    CREATE TABLE nodes (
        node          TEXT PRIMARY KEY,
        boot_id       TEXT NOT NULL,
        until_nanos   INTEGER NOT NULL,
        lease_nanos   INTEGER NOT NULL,
        live_sessions INTEGER NOT NULL
    ) WITHOUT ROWID;
    DROP TABLE task_runners;
"""

_STREAM_OWNERS: Final = """
    ALTER TABLE streams ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
"""

_MIGRATIONS: Final = (_SESSIONS, _TASKS, _STREAMS, _OWNERSHIP, _STREAM_OWNERS)
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
