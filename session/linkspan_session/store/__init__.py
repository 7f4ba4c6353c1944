"""Where sessions and tasks are on record: the protocols, and the way to an implementation."""

from linkspan_session.store.base import (
    NOBODY,
    Changes,
    Closed,
    EventRecord,
    Found,
    Handshake,
    Ownership,
    Preferences,
    Principal,
    SessionId,
    SessionRecord,
    SessionStore,
    StreamRecord,
)
from linkspan_session.store.nodes import NodeId, NodeLoad, NodeRegistry, address_of, operated_at
from linkspan_session.store.opening import Store, open_store

__all__ = [
    "NOBODY",
    "Changes",
    "Closed",
    "EventRecord",
    "Found",
    "Handshake",
    "NodeId",
    "NodeLoad",
    "NodeRegistry",
    "Ownership",
    "Preferences",
    "Principal",
    "SessionId",
    "SessionRecord",
    "SessionStore",
    "Store",
    "StreamRecord",
    "address_of",
    "open_store",
    "operated_at",
]
