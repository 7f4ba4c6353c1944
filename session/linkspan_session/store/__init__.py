"""Where sessions are on record: the protocol, and its implementations."""

from linkspan_session.store.base import (
    Handshake,
    Principal,
    SessionId,
    SessionRecord,
    SessionStore,
)
from linkspan_session.store.database import SqliteDatabase
from linkspan_session.store.events import EventLog, StreamRecord
from linkspan_session.store.sqlite import SqliteSessionStore
from linkspan_session.store.sqlite_events import SqliteEventLog

__all__ = [
    "EventLog",
    "Handshake",
    "Principal",
    "SessionId",
    "SessionRecord",
    "SessionStore",
    "SqliteDatabase",
    "SqliteEventLog",
    "SqliteSessionStore",
    "StreamRecord",
]
