"""Session records in one SQLite file, in write-ahead mode, off the event loop.

One thread owns the connection, so statements run one after another in the order they were asked
for, and no lock is needed. `synchronous=NORMAL`: a commit survives the death of the process; the
last few may be lost if the machine loses power, without harm to those before.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from linkspan_process.errors import StartError
from linkspan_session.errors import RecordTooNewError, StoreUnavailableError
from linkspan_session.store.base import Handshake, Principal, SessionId, SessionRecord

T = TypeVar("T")

logger = logging.getLogger(__name__)

_DATABASE_VERSION: Final = 1
"""The layout of the tables, as `PRAGMA user_version`."""

_RECORD_VERSION: Final = 1
"""The layout of a record; each row says its own."""

_BUSY_TIMEOUT_SECONDS: Final = 5.0

_SCHEMA: Final = """
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

_COLUMNS: Final = (
    "session_id, record_version, issuer, subject, resource, protocol_version, "
    "initialize_params, initialized, created_millis, last_active_millis"
)


class SqliteSessionStore:
    """A `SessionStore` in one file. Make it with `open`."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    @classmethod
    async def open(cls, path: Path) -> "SqliteSessionStore":
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

    async def create(self, record: SessionRecord) -> SessionRecord | None:
        """See `SessionStore.create`."""

        def work() -> SessionRecord | None:
            with self._connection:
                cursor = self._connection.execute(
                    f"INSERT INTO sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
                    "ON CONFLICT (session_id) DO NOTHING",
                    _row_of(record),
                )
                if cursor.rowcount:
                    return None
                return self._select(record.session_id)

        return await self._run(work)

    async def get(self, session_id: SessionId) -> SessionRecord | None:
        """See `SessionStore.get`."""
        return await self._run(lambda: self._select(session_id))

    async def save_handshake(self, session_id: SessionId, handshake: Handshake) -> bool:
        """See `SessionStore.save_handshake`."""
        return await self._write(
            "UPDATE sessions SET protocol_version = ?, initialize_params = ?, initialized = ? "
            "WHERE session_id = ?",
            handshake.protocol_version,
            handshake.params_json,
            int(handshake.initialized),
            session_id,
        )

    async def touch(self, session_id: SessionId, last_active_millis: int) -> None:
        """See `SessionStore.touch`."""
        await self._write(
            "UPDATE sessions SET last_active_millis = ? WHERE session_id = ?",
            last_active_millis,
            session_id,
        )

    async def delete(self, session_id: SessionId) -> bool:
        """See `SessionStore.delete`."""
        return await self._write("DELETE FROM sessions WHERE session_id = ?", session_id)

    async def list_page(
        self, after: tuple[int, SessionId] | None, limit: int
    ) -> list[SessionRecord]:
        """See `SessionStore.list_page`."""

        def work() -> list[SessionRecord]:
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM sessions "  # noqa: S608
                "WHERE (created_millis, session_id) > (?, ?) "
                "ORDER BY created_millis, session_id LIMIT ?",
                (*(after or (-1, "")), limit),
            )
            return [_record_of(row) for row in rows]

        return await self._run(work)

    async def close(self) -> None:
        """See `SessionStore.close`."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    def _select(self, session_id: SessionId) -> SessionRecord | None:
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM sessions WHERE session_id = ?",  # noqa: S608
            (session_id,),
        ).fetchone()
        return None if row is None else _record_of(row)

    async def _write(self, statement: str, *parameters: str | int) -> bool:
        def work() -> bool:
            with self._connection:
                return self._connection.execute(statement, parameters).rowcount > 0

        return await self._run(work)

    async def _run(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            logger.warning("the session store failed: %s", error)
            raise StoreUnavailableError from error


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_SECONDS, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with connection:
                connection.executescript(
                    f"BEGIN; {_SCHEMA} PRAGMA user_version = {_DATABASE_VERSION}; COMMIT;"
                )
    except (sqlite3.Error, OSError) as error:
        raise StartError(f"cannot open the session store {path}: {error}") from error
    if version > _DATABASE_VERSION:
        connection.close()
        raise StartError(f"a newer version of Linkspan made {path}; upgrade, or choose another")
    return connection


def _row_of(record: SessionRecord) -> tuple[str | int | None, ...]:
    handshake = record.handshake
    return (
        record.session_id,
        _RECORD_VERSION,
        record.principal.issuer,
        record.principal.subject,
        record.principal.resource,
        handshake.protocol_version if handshake else None,
        handshake.params_json if handshake else None,
        int(handshake.initialized) if handshake else 0,
        record.created_millis,
        record.last_active_millis,
    )


def _record_of(
    row: tuple[str, int, str, str, str, str | None, str | None, int, int, int],
) -> SessionRecord:
    session_id, record_version, issuer, subject, resource, version, params, initialized, *times = (
        row
    )
    if record_version > _RECORD_VERSION:
        raise RecordTooNewError
    handshake = None
    if version is not None and params is not None:
        handshake = Handshake(version, params, bool(initialized))
    created_millis, last_active_millis = times
    return SessionRecord(
        SessionId(session_id),
        Principal(issuer, subject, resource),
        handshake,
        created_millis,
        last_active_millis,
    )
