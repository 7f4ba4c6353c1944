"""Where sessions are on record: the protocol, and its implementations."""

from linkspan_session.store.base import (
    Handshake,
    Principal,
    SessionId,
    SessionRecord,
    SessionStore,
)
from linkspan_session.store.sqlite import SqliteSessionStore

__all__ = [
    "Handshake",
    "Principal",
    "SessionId",
    "SessionRecord",
    "SessionStore",
    "SqliteSessionStore",
]
