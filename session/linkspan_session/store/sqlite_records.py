"""Session records as rows of SQLite, and who may write them; see `sqlite_layout` for the tables.

Above lies `sqlite_sessions`, which makes the units of work; every function here is part of one.
"""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from linkspan_session.errors import NotOwnerError, RecordTooNewError
from linkspan_session.store.base import (
    NOBODY,
    Changes,
    Closed,
    Found,
    Handshake,
    Ownership,
    Preferences,
    Principal,
    SessionId,
    SessionRecord,
)
from linkspan_session.store.nodes import NodeId
from linkspan_session.store.sqlite_nodes import LEASE_COLUMNS, MachineClock, is_held

RECORD_VERSION: Final = 2
"""The version of the records that are written here; each row says its own.

1 had no owner. A record that is written to gets this one, so that whoever knows only older ones
leaves it alone from then on.
"""

_COLUMNS: Final = (
    "record_version, session_id, issuer, subject, resource, protocol_version, initialize_params, "
    "initialized, created_millis, last_active_millis, expires_millis, owner, epoch, log_level, "
    "subscriptions, scratch, closed, version"
)

_SELECT: Final = f"SELECT {_COLUMNS} FROM sessions WHERE session_id = ?"  # noqa: S608

_SELECT_FOUND: Final = (
    f"SELECT {LEASE_COLUMNS}, {_COLUMNS} FROM sessions "  # noqa: S608
    "LEFT JOIN nodes ON nodes.node = sessions.owner "
)

_INSERT: Final = (
    f"INSERT INTO sessions ({_COLUMNS}) "  # noqa: S608
    f"VALUES ({', '.join('?' for _ in _COLUMNS.split(','))})"
)


@dataclass(slots=True)
class Usage:
    """What a session takes, as its row says; to be kept in step with the rows of other tables.

    Attributes:
        version: Of the record, before the commit.
        log_bytes: Of all its events.
        storage_bytes: Of all values of its storage.
        finished_streams: How many of its streams are finished.
    """

    version: int
    log_bytes: int
    storage_bytes: int
    finished_streams: int


def select(connection: sqlite3.Connection, session_id: SessionId) -> SessionRecord | None:
    """Return a record, or None if there is none; raises `RecordTooNewError`."""
    row = connection.execute(_SELECT, (session_id,)).fetchone()
    return None if row is None else _record_of(row)


def select_found(
    connection: sqlite3.Connection, session_id: SessionId, clock: MachineClock
) -> Found | None:
    """Return a record and whether its owner is alive; raises `RecordTooNewError`."""
    row = connection.execute(
        _SELECT_FOUND + "WHERE sessions.session_id = ?", (session_id,)
    ).fetchone()
    return None if row is None else _found_of(row, clock)


def select_page(
    connection: sqlite3.Connection,
    after: tuple[int, SessionId] | None,
    limit: int,
    clock: MachineClock,
) -> list[Found]:
    """Return records that are not closed and not too new, ordered by creation and id."""
    rows = connection.execute(
        _SELECT_FOUND + "WHERE closed IS NULL AND record_version <= ? "
        "AND (created_millis, session_id) > (?, ?) ORDER BY created_millis, session_id LIMIT ?",
        (RECORD_VERSION, *(after or (-1, "")), limit),
    ).fetchall()
    return [_found_of(row, clock) for row in rows]


def insert(connection: sqlite3.Connection, record: SessionRecord) -> None:
    """Add a record, whose id is new, and count it for its principal."""
    connection.execute(_INSERT, _row_of(record))
    _count(connection, record.principal, 1)


def set_owner(connection: sqlite3.Connection, record: SessionRecord) -> None:
    """Write down the owner and the epoch of a record."""
    connection.execute(
        "UPDATE sessions SET owner = ?, epoch = ?, record_version = ? WHERE session_id = ?",
        (record.owner, record.epoch, RECORD_VERSION, record.session_id),
    )


def usage_for(connection: sqlite3.Connection, ownership: Ownership) -> Usage:
    """Return what a session takes to whoever may write to it.

    Raises:
        NotOwnerError: It has another owner or epoch, or is closed, or gone.
        RecordTooNewError: A newer version of Linkspan wrote it.
    """
    row = connection.execute(
        "SELECT record_version, version, log_bytes, storage_bytes, finished_streams FROM sessions "
        "WHERE session_id = ? AND owner = ? AND epoch = ? AND closed IS NULL",
        (ownership.session_id, ownership.owner, ownership.epoch),
    ).fetchone()
    if row is None or ownership.owner == NOBODY:
        raise NotOwnerError
    if row[0] > RECORD_VERSION:
        raise RecordTooNewError
    return Usage(*row[1:])


def update(
    connection: sqlite3.Connection, session_id: SessionId, changes: Changes, usage: Usage
) -> None:
    """Write what changes do to the record itself, and what the session takes after them."""
    values: dict[str, str | int | None] = {
        "version": usage.version + 1,
        "record_version": RECORD_VERSION,
        "log_bytes": usage.log_bytes,
        "storage_bytes": usage.storage_bytes,
        "finished_streams": usage.finished_streams,
    }
    if changes.handshake is not None:
        values["protocol_version"] = changes.handshake.protocol_version
        values["initialize_params"] = changes.handshake.params_json
        values["initialized"] = int(changes.handshake.initialized)
    if changes.preferences is not None:
        values["log_level"] = changes.preferences.log_level
        values["subscriptions"] = json.dumps(changes.preferences.subscriptions)
        values["scratch"] = changes.preferences.scratch_json
    if changes.last_active_millis is not None:
        values["last_active_millis"] = changes.last_active_millis
    if changes.expires_millis is not None:
        values["expires_millis"] = changes.expires_millis
    if changes.release:
        values["owner"] = NOBODY
    # There are few sets of columns, so the statements come out of the connection's cache.
    assignments = ", ".join(f"{column} = ?" for column in values)
    connection.execute(
        f"UPDATE sessions SET {assignments} WHERE session_id = ?",  # noqa: S608
        (*values.values(), session_id),
    )


def close(
    connection: sqlite3.Connection, session_id: SessionId, how: Closed, expires_millis: int
) -> None:
    """Bring a session to its end: nobody owns it, and it has nothing any more."""
    connection.execute("DELETE FROM streams WHERE session_id = ?", (session_id,))
    connection.execute("DELETE FROM storage WHERE session_id = ?", (session_id,))
    connection.execute(
        "UPDATE sessions SET closed = ?, expires_millis = ?, owner = ?, epoch = epoch + 1, "
        "record_version = ?, log_bytes = 0, storage_bytes = 0, finished_streams = 0 "
        "WHERE session_id = ?",
        (how, expires_millis, NOBODY, RECORD_VERSION, session_id),
    )
    (principal,) = connection.execute(
        "SELECT issuer, subject, resource FROM sessions WHERE session_id = ?", (session_id,)
    ).fetchall()
    _count(connection, Principal(*principal), -1)


def select_due(connection: sqlite3.Connection, now_millis: int, limit: int) -> list[SessionId]:
    """Return sessions that count as expired and are not closed yet, the longest due first."""
    rows = connection.execute(
        "SELECT session_id FROM sessions WHERE closed IS NULL AND expires_millis <= ? "
        "AND record_version <= ? ORDER BY expires_millis LIMIT ?",
        (now_millis, RECORD_VERSION, limit),
    ).fetchall()
    return [SessionId(session_id) for (session_id,) in rows]


def remove_closed(connection: sqlite3.Connection, now_millis: int, limit: int) -> int:
    """Remove records of closed sessions that have been kept long enough; returns how many."""
    removed = connection.execute(
        "DELETE FROM sessions WHERE session_id IN (SELECT session_id FROM sessions "
        "WHERE closed IS NOT NULL AND expires_millis <= ? AND record_version <= ? LIMIT ?)",
        (now_millis, RECORD_VERSION, limit),
    )
    return removed.rowcount


def open_sessions(connection: sqlite3.Connection, principal: Principal) -> int:
    """Return how many sessions of a principal are not closed."""
    row = connection.execute(
        "SELECT open_sessions FROM principals WHERE issuer = ? AND subject = ? AND resource = ?",
        _key_of(principal),
    ).fetchone()
    return 0 if row is None else int(row[0])


def size(connection: sqlite3.Connection, session_id: SessionId) -> int:
    """Return what a session takes, in bytes of events and of storage; 0 if there is none."""
    row = connection.execute(
        "SELECT log_bytes + storage_bytes FROM sessions WHERE session_id = ?", (session_id,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def _count(connection: sqlite3.Connection, principal: Principal, change: int) -> None:
    key = _key_of(principal)
    connection.execute(
        "INSERT INTO principals (issuer, subject, resource, open_sessions) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO UPDATE SET open_sessions = open_sessions + excluded.open_sessions",
        (*key, change),
    )
    connection.execute(
        "DELETE FROM principals WHERE issuer = ? AND subject = ? AND resource = ? "
        "AND open_sessions <= 0",
        key,
    )


def _key_of(principal: Principal) -> tuple[str, str, str]:
    return principal.issuer, principal.subject, principal.resource


def _row_of(record: SessionRecord) -> tuple[str | int | None, ...]:
    handshake, preferences = record.handshake, record.preferences
    return (
        RECORD_VERSION,
        record.session_id,
        *_key_of(record.principal),
        handshake.protocol_version if handshake else None,
        handshake.params_json if handshake else None,
        int(handshake.initialized) if handshake else 0,
        record.created_millis,
        record.last_active_millis,
        record.expires_millis,
        record.owner,
        record.epoch,
        preferences.log_level,
        json.dumps(preferences.subscriptions),
        preferences.scratch_json,
        record.closed,
        record.version,
    )


def _found_of(row: tuple[Any, ...], clock: MachineClock) -> Found:
    return Found(_record_of(row[3:]), is_held(row[:3], clock))


def _record_of(row: tuple[Any, ...]) -> SessionRecord:
    record_version, *columns = row
    if record_version > RECORD_VERSION:
        raise RecordTooNewError
    (
        session_id,
        issuer,
        subject,
        resource,
        protocol_version,
        params_json,
        initialized,
        created_millis,
        last_active_millis,
        expires_millis,
        owner,
        epoch,
        log_level,
        subscriptions,
        scratch_json,
        closed,
        version,
    ) = columns
    handshake = None
    if protocol_version is not None:
        handshake = Handshake(protocol_version, params_json, bool(initialized))
    return SessionRecord(
        session_id=SessionId(session_id),
        principal=Principal(issuer, subject, resource),
        handshake=handshake,
        created_millis=created_millis,
        last_active_millis=last_active_millis,
        expires_millis=expires_millis,
        owner=NodeId(owner),
        epoch=epoch,
        preferences=Preferences(log_level, tuple(json.loads(subscriptions)), scratch_json),
        closed=None if closed is None else Closed(closed),
        version=version,
    )
