"""Session records in SQLite; see `database` for what a commit promises."""

import sqlite3
from pathlib import Path
from typing import Final

from linkspan_session.errors import RecordTooNewError
from linkspan_session.store.base import Handshake, Principal, SessionId, SessionRecord
from linkspan_session.store.database import SqliteDatabase

_RECORD_VERSION: Final = 1
"""The layout of a record; each row says its own."""

_COLUMNS: Final = (
    "session_id, record_version, issuer, subject, resource, protocol_version, "
    "initialize_params, initialized, created_millis, last_active_millis"
)


class SqliteSessionStore:
    """A `SessionStore` in one file, whose other tables may belong to other stores."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    @classmethod
    async def open(cls, path: Path) -> "SqliteSessionStore":
        """Open a file for session records alone; raises what `SqliteDatabase.open` raises."""
        return cls(await SqliteDatabase.open(path))

    async def close(self) -> None:
        """See `SessionStore.close`."""
        await self._database.close()

    async def create(self, record: SessionRecord) -> SessionRecord | None:
        """See `SessionStore.create`."""

        def work(connection: sqlite3.Connection) -> SessionRecord | None:
            cursor = connection.execute(
                f"INSERT INTO sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
                "ON CONFLICT (session_id) DO NOTHING",
                _row_of(record),
            )
            return None if cursor.rowcount else _select(connection, record.session_id)

        return await self._database.run(work)

    async def get(self, session_id: SessionId) -> SessionRecord | None:
        """See `SessionStore.get`."""
        return await self._database.run(lambda connection: _select(connection, session_id))

    async def save_handshake(self, session_id: SessionId, handshake: Handshake) -> bool:
        """See `SessionStore.save_handshake`."""
        return await self._database.write(
            "UPDATE sessions SET protocol_version = ?, initialize_params = ?, initialized = ? "
            "WHERE session_id = ?",
            handshake.protocol_version,
            handshake.params_json,
            int(handshake.initialized),
            session_id,
        )

    async def touch(self, session_id: SessionId, last_active_millis: int) -> None:
        """See `SessionStore.touch`."""
        await self._database.write(
            "UPDATE sessions SET last_active_millis = ? WHERE session_id = ?",
            last_active_millis,
            session_id,
        )

    async def delete(self, session_id: SessionId) -> bool:
        """See `SessionStore.delete`."""
        return await self._database.write("DELETE FROM sessions WHERE session_id = ?", session_id)

    async def list_page(
        self, after: tuple[int, SessionId] | None, limit: int
    ) -> list[SessionRecord]:
        """See `SessionStore.list_page`."""

        def work(connection: sqlite3.Connection) -> list[SessionRecord]:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM sessions "  # noqa: S608
                "WHERE (created_millis, session_id) > (?, ?) "
                "ORDER BY created_millis, session_id LIMIT ?",
                (*(after or (-1, "")), limit),
            )
            return [_record_of(row) for row in rows]

        return await self._database.run(work)


def _select(connection: sqlite3.Connection, session_id: SessionId) -> SessionRecord | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE session_id = ?",  # noqa: S608
        (session_id,),
    ).fetchone()
    return None if row is None else _record_of(row)


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
    (
        session_id,
        record_version,
        issuer,
        subject,
        resource,
        protocol_version,
        params_json,
        initialized,
        created_millis,
        last_active_millis,
    ) = row
    if record_version > _RECORD_VERSION:
        raise RecordTooNewError
    handshake = None
    if protocol_version is not None and params_json is not None:
        handshake = Handshake(protocol_version, params_json, bool(initialized))
    return SessionRecord(
        SessionId(session_id),
        Principal(issuer, subject, resource),
        handshake,
        created_millis,
        last_active_millis,
    )
