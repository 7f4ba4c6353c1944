"""The event log in SQLite; see `database` for what a commit promises."""

import json
import sqlite3
from typing import Final

from linkspan_session.store.base import SessionId
from linkspan_session.store.database import SqliteDatabase
from linkspan_session.store.events import DEFAULT_MAX_LOG_BYTES, StreamRecord

_MAX_FINISHED_STREAMS: Final = 100
"""How many finished streams of a session are kept, however small they are."""

_COLUMNS: Final = (
    "session_id, stream_id, request_id, traceparent, created_millis, finished, "
    "last_sequence, first_sequence"
)


class SqliteEventLog:
    """An `EventLog` in the file of the session records."""

    def __init__(
        self, database: SqliteDatabase, *, max_log_bytes: int = DEFAULT_MAX_LOG_BYTES
    ) -> None:
        """Make a log.

        Args:
            database: The file.
            max_log_bytes: How much of a session's events is kept, in bytes of messages.
        """
        self._database = database
        self._max_log_bytes = max_log_bytes

    async def open_stream(self, stream: StreamRecord) -> StreamRecord:
        """See `EventLog.open_stream`."""

        def work(connection: sqlite3.Connection) -> StreamRecord:
            connection.execute(
                "INSERT INTO streams (session_id, stream_id, request_id, traceparent, "
                "created_millis) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    stream.session_id,
                    stream.stream_id,
                    json.dumps(stream.request_id),
                    stream.traceparent,
                    stream.created_millis,
                ),
            )
            connection.execute(
                "DELETE FROM streams WHERE session_id = ? AND stream_id IN "
                "(SELECT stream_id FROM streams WHERE session_id = ? AND finished "
                "ORDER BY created_millis DESC LIMIT -1 OFFSET ?)",
                (stream.session_id, stream.session_id, _MAX_FINISHED_STREAMS),
            )
            return _select(connection, stream.session_id, stream.stream_id) or stream

        return await self._database.run(work)

    async def get_stream(self, session_id: SessionId, stream_id: str) -> StreamRecord | None:
        """See `EventLog.get_stream`."""
        return await self._database.run(
            lambda connection: _select(connection, session_id, stream_id)
        )

    async def append(
        self, session_id: SessionId, stream_id: str, sequence: int, message: bytes, *, last: bool
    ) -> None:
        """See `EventLog.append`."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO events (session_id, stream_id, sequence, message) VALUES (?, ?, ?, ?)",
                (session_id, stream_id, sequence, message),
            )
            connection.execute(
                "UPDATE streams SET last_sequence = ?, finished = ?, bytes = bytes + ? "
                "WHERE session_id = ? AND stream_id = ?",
                (sequence, int(last), len(message), session_id, stream_id),
            )
            self._make_room(connection, session_id, stream_id)

        await self._database.run(work)

    async def read(
        self, session_id: SessionId, stream_id: str, *, after: int
    ) -> list[tuple[int, bytes]]:
        """See `EventLog.read`."""

        def work(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
            return connection.execute(
                "SELECT sequence, message FROM events "
                "WHERE session_id = ? AND stream_id = ? AND sequence > ? ORDER BY sequence",
                (session_id, stream_id, after),
            ).fetchall()

        return await self._database.run(work)

    def _make_room(
        self, connection: sqlite3.Connection, session_id: SessionId, stream_id: str
    ) -> None:
        over = self._bytes_over(connection, session_id)
        if over <= 0:
            return
        finished = connection.execute(
            "SELECT stream_id, bytes FROM streams WHERE session_id = ? AND finished "
            "AND stream_id != ? ORDER BY created_millis",
            (session_id, stream_id),
        ).fetchall()
        for old, size in finished:
            if over <= 0:
                return
            connection.execute(
                "DELETE FROM streams WHERE session_id = ? AND stream_id = ?", (session_id, old)
            )
            over -= size
        if over > 0:
            self._drop_oldest(connection, session_id, stream_id, over)

    @staticmethod
    def _drop_oldest(
        connection: sqlite3.Connection, session_id: SessionId, stream_id: str, over: int
    ) -> None:
        """Drop the oldest events of a stream until `over` bytes are gone; the newest one stays."""
        kept = connection.execute(
            "SELECT sequence, length(message) FROM events "
            "WHERE session_id = ? AND stream_id = ? ORDER BY sequence",
            (session_id, stream_id),
        ).fetchall()
        dropped = 0
        first = kept[0][0]
        for sequence, size in kept[:-1]:
            if dropped >= over:
                break
            dropped += size
            first = sequence + 1
        connection.execute(
            "DELETE FROM events WHERE session_id = ? AND stream_id = ? AND sequence < ?",
            (session_id, stream_id, first),
        )
        connection.execute(
            "UPDATE streams SET first_sequence = ?, bytes = bytes - ? "
            "WHERE session_id = ? AND stream_id = ?",
            (first, dropped, session_id, stream_id),
        )

    def _bytes_over(self, connection: sqlite3.Connection, session_id: SessionId) -> int:
        (total,) = connection.execute(
            "SELECT coalesce(sum(bytes), 0) FROM streams WHERE session_id = ?", (session_id,)
        ).fetchone()
        return int(total) - self._max_log_bytes


def _select(
    connection: sqlite3.Connection, session_id: SessionId, stream_id: str
) -> StreamRecord | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM streams WHERE session_id = ? AND stream_id = ?",  # noqa: S608
        (session_id, stream_id),
    ).fetchone()
    if row is None:
        return None
    return StreamRecord(
        session_id=SessionId(row[0]),
        stream_id=row[1],
        request_id=json.loads(row[2]),
        traceparent=row[3],
        created_millis=row[4],
        finished=bool(row[5]),
        last_sequence=row[6],
        first_sequence=row[7],
    )
