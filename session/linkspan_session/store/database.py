"""One SQLite file in write-ahead mode, off the event loop.

One thread owns the connection, so units of work run one after another in the order they were asked
for, each a transaction, and no lock is needed. `synchronous=NORMAL`: a commit survives the death of
the process; the last few may be lost if the machine loses power, without harm to those before.
Above lie the stores, which know the tables; this knows none but their versions.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from linkspan_process.errors import StartError
from linkspan_session.errors import StoreUnavailableError

T = TypeVar("T")

logger = logging.getLogger(__name__)

_BUSY_TIMEOUT_SECONDS: Final = 1.0

_MIGRATIONS: Final = (
    """
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
    """,
    """
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
    """,
    """
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
    """,
)
"""What takes the file from each version of its layout to the next; `PRAGMA user_version` counts."""


class SqliteDatabase:
    """An open file and the thread that owns it. Make it with `open`."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    @classmethod
    async def open(cls, path: Path) -> "SqliteDatabase":
        """Open the file, and make it and its folder if they are not there.

        Raises:
            StartError: It cannot be opened, or a newer version of Linkspan made it.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="session-store")
        loop = asyncio.get_running_loop()
        try:
            connection = await loop.run_in_executor(thread, _connect, path)
        except BaseException:
            thread.shutdown()
            raise
        return cls(connection, thread)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a unit of work on the thread, as one transaction, and return what it returns.

        Cancelling it leaves it open whether the work was done.

        Raises:
            StoreUnavailableError: SQLite failed; nothing was changed.
        """

        def transaction() -> T:
            with self._connection:
                return work(self._connection)

        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, transaction)
        except sqlite3.Error as error:
            logger.warning("the session store failed: %s", error)
            raise StoreUnavailableError from error

    async def write(self, statement: str, *parameters: str | int | None) -> bool:
        """Run one statement; tells whether it changed a row. Raises what `run` raises."""
        return await self.run(
            lambda connection: connection.execute(statement, parameters).rowcount > 0
        )

    async def close(self) -> None:
        """Finish what is under way and close the file. Call once, last."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()


def _connect(path: Path) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds session ids, which are as good as keys
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        version = _migrate(connection)
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            connection.close()
        raise StartError(f"cannot open the session store {path}: {error}") from error
    if version > len(_MIGRATIONS):
        connection.close()
        raise StartError(f"a newer version of Linkspan made {path}; upgrade, or choose another")
    return connection


def _migrate(connection: sqlite3.Connection) -> int:
    """Bring the file to the newest layout; returns the layout it had, which may be newer still."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")  # two processes may open a new file at once
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        for migration in _MIGRATIONS[version:]:
            for statement in migration.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(version, len(_MIGRATIONS))}")
    return version
