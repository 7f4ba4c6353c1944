"""Streams and events of sessions as rows of SQLite, and the bounds of what is kept of them.

Above lies `sqlite_sessions`, which makes the units of work; every function here is part of one.
"""

import json
import sqlite3
from collections.abc import Iterable, Set
from typing import Any, Final

from linkspan_session.store.base import (
    MAX_FINISHED_STREAMS,
    EventRecord,
    Ownership,
    SessionId,
    StreamRecord,
)
from linkspan_session.store.sqlite_records import Usage

_COLUMNS: Final = (
    "session_id, stream_id, request_id, traceparent, created_millis, request_key, finished, "
    "last_sequence, first_sequence"
)

_COUNT: Final = (
    "UPDATE streams SET last_sequence = ?, bytes = bytes + ?, epoch = ? "
    "WHERE session_id = ? AND stream_id = ? AND last_sequence = ? AND NOT finished"
)

_COUNT_LAST: Final = (
    "UPDATE streams SET last_sequence = ?, bytes = bytes + ?, epoch = ?, finished = 1 "
    "WHERE session_id = ? AND stream_id = ? AND last_sequence = ? AND NOT finished"
)


def add_streams(
    connection: sqlite3.Connection,
    session_id: SessionId,
    streams: Iterable[StreamRecord],
    usage: Usage,
) -> None:
    """Add streams; one that is there already stays as it is."""
    for stream in streams:
        added = connection.execute(
            f"INSERT INTO streams ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
            "ON CONFLICT DO NOTHING",
            (
                session_id,
                stream.stream_id,
                json.dumps(stream.request_id),
                stream.traceparent,
                stream.created_millis,
                stream.request_key,
                int(stream.finished),
                stream.last_sequence,
                stream.first_sequence,
            ),
        )
        if added.rowcount and stream.finished:
            usage.finished_streams += 1


def add_events(
    connection: sqlite3.Connection,
    ownership: Ownership,
    events: Iterable[EventRecord],
    usage: Usage,
) -> None:
    """Add events to streams that are open.

    Raises:
        ValueError: There is no such stream, it is finished, or the number is not its next one.
    """
    session_id = ownership.session_id
    for event in events:
        size = len(event.message)
        written = connection.execute(
            _COUNT_LAST if event.last else _COUNT,
            (
                *(event.sequence, size, ownership.epoch),
                *(session_id, event.stream_id, event.sequence - 1),
            ),
        )
        if not written.rowcount:
            raise ValueError(f"event {event.sequence} does not follow in its stream")
        connection.execute(
            "INSERT INTO events (session_id, stream_id, sequence, message) VALUES (?, ?, ?, ?)",
            (session_id, event.stream_id, event.sequence, event.message),
        )
        usage.log_bytes += size
        usage.finished_streams += event.last


def make_room(
    connection: sqlite3.Connection,
    ownership: Ownership,
    events: Iterable[EventRecord],
    usage: Usage,
    max_log_bytes: int,
) -> None:
    """Drop what is over the bounds, once events were added; see `Changes.events` for the order."""
    session_id = ownership.session_id
    written = dict.fromkeys(event.stream_id for event in events)
    for stream_id in written:
        if usage.log_bytes <= max_log_bytes:
            break
        spare = _bytes_of(connection, session_id, stream_id) - max_log_bytes // 2
        over = min(usage.log_bytes - max_log_bytes, spare)
        if over > 0:
            usage.log_bytes -= _drop_oldest(connection, session_id, stream_id, over)
    while usage.finished_streams > MAX_FINISHED_STREAMS or usage.log_bytes > max_log_bytes:
        oldest = _oldest_finished(connection, session_id, written.keys())
        if oldest is None:
            break
        stream_id, size = oldest
        connection.execute(
            "DELETE FROM streams WHERE session_id = ? AND stream_id = ?", (session_id, stream_id)
        )
        usage.finished_streams -= 1
        usage.log_bytes -= size
    if usage.log_bytes <= max_log_bytes:
        return
    for stream_id, size in _left_behind(connection, ownership):
        _drop_events(connection, session_id, stream_id)
        usage.log_bytes -= size
        if usage.log_bytes <= max_log_bytes:
            return
    for stream_id in written:
        over = usage.log_bytes - max_log_bytes
        if over > 0:
            usage.log_bytes -= _drop_oldest(connection, session_id, stream_id, over)


def select_stream(
    connection: sqlite3.Connection, session_id: SessionId, stream_id: str
) -> StreamRecord | None:
    """Return a stream, or None if there is none."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM streams WHERE session_id = ? AND stream_id = ?",  # noqa: S608
        (session_id, stream_id),
    ).fetchone()
    return None if row is None else _stream_of(row)


def select_stream_of(
    connection: sqlite3.Connection, session_id: SessionId, request_key: str
) -> StreamRecord | None:
    """Return the newest stream that answers a request, or None if there is none."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM streams WHERE session_id = ? AND request_key = ? "  # noqa: S608
        "AND request_key != '' ORDER BY created_millis DESC, stream_id DESC LIMIT 1",
        (session_id, request_key),
    ).fetchone()
    return None if row is None else _stream_of(row)


def select_events(
    connection: sqlite3.Connection, session_id: SessionId, stream_id: str, after: int
) -> list[tuple[int, bytes]]:
    """Return the events with numbers above `after`, in order, each with its number."""
    return connection.execute(
        "SELECT sequence, message FROM events "
        "WHERE session_id = ? AND stream_id = ? AND sequence > ? ORDER BY sequence",
        (session_id, stream_id, after),
    ).fetchall()


def _oldest_finished(
    connection: sqlite3.Connection, session_id: SessionId, but_not: Set[str]
) -> tuple[str, int] | None:
    """Return the oldest finished stream and its size in bytes."""
    rows: list[tuple[str, int]] = connection.execute(
        "SELECT stream_id, bytes FROM streams WHERE session_id = ? AND finished "
        "ORDER BY created_millis, stream_id LIMIT ?",
        (session_id, len(but_not) + 1),
    ).fetchall()
    return next((row for row in rows if row[0] not in but_not), None)


def _bytes_of(connection: sqlite3.Connection, session_id: SessionId, stream_id: str) -> int:
    row = connection.execute(
        "SELECT bytes FROM streams WHERE session_id = ? AND stream_id = ?", (session_id, stream_id)
    ).fetchone()
    return int(row[0])


def _left_behind(connection: sqlite3.Connection, ownership: Ownership) -> list[tuple[str, int]]:
    """Return open streams that only earlier owners have written to, and their sizes, by age."""
    return connection.execute(
        "SELECT stream_id, bytes FROM streams WHERE session_id = ? AND NOT finished "
        "AND epoch < ? AND bytes > 0 ORDER BY created_millis, stream_id",
        (ownership.session_id, ownership.epoch),
    ).fetchall()


def _drop_events(connection: sqlite3.Connection, session_id: SessionId, stream_id: str) -> None:
    """Drop all events of a stream, which can still be gone on with."""
    key = (session_id, stream_id)
    connection.execute("DELETE FROM events WHERE session_id = ? AND stream_id = ?", key)
    connection.execute(
        "UPDATE streams SET first_sequence = last_sequence + 1, bytes = 0 "
        "WHERE session_id = ? AND stream_id = ?",
        key,
    )


def _drop_oldest(
    connection: sqlite3.Connection, session_id: SessionId, stream_id: str, over: int
) -> int:
    """Drop the oldest events of a stream until `over` bytes are gone; the newest one stays.

    Returns:
        How many bytes are gone.
    """
    dropped, first = 0, None
    sizes = connection.execute(
        "SELECT sequence, length(message) FROM events WHERE session_id = ? AND stream_id = ? "
        "AND sequence < (SELECT last_sequence FROM streams WHERE session_id = ? AND stream_id = ?) "
        "ORDER BY sequence",
        (session_id, stream_id, session_id, stream_id),
    )
    for sequence, size in sizes:
        dropped, first = dropped + size, sequence + 1
        if dropped >= over:
            break
    sizes.close()  # it may have more
    if first is None:
        return 0
    connection.execute(
        "DELETE FROM events WHERE session_id = ? AND stream_id = ? AND sequence < ?",
        (session_id, stream_id, first),
    )
    connection.execute(
        "UPDATE streams SET first_sequence = ?, bytes = bytes - ? "
        "WHERE session_id = ? AND stream_id = ?",
        (first, dropped, session_id, stream_id),
    )
    return dropped


def _stream_of(row: tuple[Any, ...]) -> StreamRecord:
    (
        session_id,
        stream_id,
        request_id,
        traceparent,
        created_millis,
        request_key,
        finished,
        last_sequence,
        first_sequence,
    ) = row
    return StreamRecord(
        session_id=SessionId(session_id),
        stream_id=stream_id,
        request_id=json.loads(request_id),
        traceparent=traceparent,
        created_millis=created_millis,
        request_key=request_key,
        finished=bool(finished),
        last_sequence=last_sequence,
        first_sequence=first_sequence,
    )
