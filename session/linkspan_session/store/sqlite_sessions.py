"""A `SessionStore` in SQLite: each method is one unit of work; see `database` for what it promises.

Below lie the parts that a unit is made of: `sqlite_records` (records and who may write to them),
`sqlite_events` and `sqlite_storage`.
"""

import sqlite3
from dataclasses import replace

from linkspan_session.errors import TooManySessionsError
from linkspan_session.store import sqlite_events as events
from linkspan_session.store import sqlite_records as records
from linkspan_session.store import sqlite_storage as storage
from linkspan_session.store.base import (
    Changes,
    Closed,
    Found,
    Ownership,
    SessionId,
    SessionRecord,
    StreamRecord,
)
from linkspan_session.store.database import SqliteDatabase
from linkspan_session.store.nodes import NodeId
from linkspan_session.store.sqlite_nodes import MachineClock


class SqliteSessionStore:
    """A `SessionStore` in an open database."""

    def __init__(
        self, database: SqliteDatabase, clock: MachineClock, *, max_log_bytes: int
    ) -> None:
        """Make a store.

        Args:
            database: The file.
            clock: What the leases of owners are measured by.
            max_log_bytes: How much of a session's events is kept, in bytes of messages.
        """
        self._database = database
        self._clock = clock
        self._max_log_bytes = max_log_bytes

    async def create(self, record: SessionRecord, *, max_of_principal: int) -> SessionRecord | None:
        """See `SessionStore.create`."""

        def work(connection: sqlite3.Connection) -> SessionRecord | None:
            there = records.select(connection, record.session_id)
            if there is not None:
                return there
            if records.open_sessions(connection, record.principal) >= max_of_principal:
                raise TooManySessionsError
            records.insert(connection, record)
            return None

        return await self._database.write(work)

    async def get(self, session_id: SessionId) -> Found | None:
        """See `SessionStore.get`."""
        return await self._database.read(
            lambda connection: records.select_found(connection, session_id, self._clock)
        )

    async def claim(
        self, session_id: SessionId, node: NodeId, *, seen_epoch: int
    ) -> SessionRecord | None:
        """See `SessionStore.claim`."""

        def work(connection: sqlite3.Connection) -> SessionRecord | None:
            record = records.select(connection, session_id)
            if record is None or record.closed is not None or record.epoch != seen_epoch:
                return None
            claimed = replace(record, owner=node, epoch=record.epoch + 1)
            records.set_owner(connection, claimed)
            return claimed

        return await self._database.write(work)

    async def commit(self, ownership: Ownership, changes: Changes) -> int:
        """See `SessionStore.commit`.

        Raises:
            ValueError: An event does not follow in its stream, or what is closed would stay for
                ever; nothing was changed.
        """
        session_id = ownership.session_id
        closed, expires_millis = changes.closed, changes.expires_millis
        if closed is not None and expires_millis is None:
            raise ValueError("a session that is closed needs expires_millis")

        def work(connection: sqlite3.Connection) -> int:
            usage = records.usage_for(connection, ownership)
            if closed is None:
                events.add_streams(connection, session_id, changes.streams, usage)
                events.add_events(connection, ownership, changes.events, usage)
                events.make_room(connection, ownership, changes.events, usage, self._max_log_bytes)
                storage.put(connection, session_id, changes.storage, usage)
            records.update(connection, session_id, changes, usage)
            if closed is not None and expires_millis is not None:
                records.close(connection, session_id, closed, expires_millis)
            return usage.version + 1

        return await self._database.write(work)

    async def expire(
        self,
        now_millis: int,
        *,
        keep_until_millis: int,
        limit: int,
        expired: list[SessionId] | None = None,
    ) -> int:
        """See `SessionStore.expire`. Removes `limit` at most, too, and nothing that is too new."""

        def work(connection: sqlite3.Connection) -> tuple[int, list[SessionId]]:
            removed = records.remove_closed(connection, now_millis, limit)
            due = records.select_due(connection, now_millis, limit)
            for session_id in due:
                records.close(connection, session_id, Closed.EXPIRED, keep_until_millis)
            return max(len(due), removed), due

        dealt_with, closed = await self._database.write(work)
        if expired is not None:
            expired += closed
        return dealt_with

    async def list_page(self, after: tuple[int, SessionId] | None, limit: int) -> list[Found]:
        """See `SessionStore.list_page`."""
        return await self._database.read(
            lambda connection: records.select_page(connection, after, limit, self._clock)
        )

    async def stored_bytes(self, session_ids: tuple[SessionId, ...]) -> dict[SessionId, int]:
        """See `SessionStore.stored_bytes`."""
        return await self._database.read(
            lambda connection: {each: records.size(connection, each) for each in session_ids}
        )

    async def get_stream(self, session_id: SessionId, stream_id: str) -> StreamRecord | None:
        """See `SessionStore.get_stream`."""
        return await self._database.read(
            lambda connection: events.select_stream(connection, session_id, stream_id)
        )

    async def find_stream(self, session_id: SessionId, request_key: str) -> StreamRecord | None:
        """See `SessionStore.find_stream`."""
        return await self._database.read(
            lambda connection: events.select_stream_of(connection, session_id, request_key)
        )

    async def read_events(
        self, session_id: SessionId, stream_id: str, *, after: int
    ) -> list[tuple[int, bytes]]:
        """See `SessionStore.read_events`."""
        return await self._database.read(
            lambda connection: events.select_events(connection, session_id, stream_id, after)
        )

    async def read_storage(self, session_id: SessionId) -> dict[str, bytes]:
        """See `SessionStore.read_storage`."""
        return await self._database.read(
            lambda connection: storage.select_all(connection, session_id)
        )
