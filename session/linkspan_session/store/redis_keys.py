"""What the keys in Redis are called: which of them share a slot, and what the indexes hold.

A cluster runs a script only where all of its keys are, and keys with the same text in braces are in
one slot. What the text is made of may hold braces itself, so it is a digest. Four kinds of keys
lie together: those of one session, of one principal, of one task, and of each kind of index.
"""

import hashlib
from typing import Final, NamedTuple

from linkspan_session.store.base import Principal, SessionId, SessionRecord
from linkspan_session.store.nodes import NodeId
from linkspan_session.store.tasks import TaskId

_PREFIX: Final = "linkspan:"

SESSIONS_BY_CREATION: Final = f"{_PREFIX}{{sessions}}:by-creation"
"""A sorted set of entries, all with the same score, so that they are in the order of their bytes."""

SESSIONS_BY_EXPIRY: Final = f"{_PREFIX}{{sessions}}:by-expiry"
"""A sorted set of entries by when to look whether they are due, in milliseconds since the epoch."""

NODE_LEASES: Final = f"{_PREFIX}{{nodes}}:leases"
"""A sorted set of nodes by when their leases end, by the server's clock."""

NODE_LOADS: Final = f"{_PREFIX}{{nodes}}:loads"
"""A hash of how many sessions each node has in memory."""


class IndexEntry(NamedTuple):
    """What the indexes hold of a session: enough to take it out of all of them."""

    created_millis: int
    session_id: SessionId
    principal_digest: str

    def encode(self) -> bytes:
        """Return the entry as bytes, whose order is that of creation, then of the ids."""
        return b"\0".join(
            (
                self.created_millis.to_bytes(8, "big", signed=False),
                self.session_id.encode(),
                self.principal_digest.encode(),
            )
        )

    @classmethod
    def decode(cls, entry: bytes) -> "IndexEntry":
        """Return the entry that these bytes are."""
        session_id, _, digest = entry[9:].rpartition(b"\0")
        return cls(
            int.from_bytes(entry[:8], "big"), SessionId(session_id.decode()), digest.decode()
        )


def entry_of(record: SessionRecord) -> IndexEntry:
    """Return what the indexes hold of a session."""
    return IndexEntry(record.created_millis, record.session_id, principal_digest(record.principal))


def after_bound(created_millis: int, session_id: SessionId) -> bytes:
    """Return where, in the order of creation, what comes after a session begins."""
    return b"(" + IndexEntry(created_millis, session_id, "\x7f").encode()


def session_keys(session_id: SessionId) -> list[str]:
    """Return the keys of a session, in the order of the scripts: first its record."""
    start = f"{_PREFIX}{{{_digest(session_id)}}}:"
    return [
        f"{start}session",
        f"{start}streams",
        f"{start}events",
        f"{start}finished",
        f"{start}requests",
        f"{start}storage",
    ]


def principal_digest(principal: Principal) -> str:
    """Return what stands for a principal in keys."""
    return _digest(principal.issuer, principal.subject, principal.resource)


def principal_sessions_key(digest: str) -> str:
    """Return the key of a principal's sessions that are not closed."""
    return f"{_PREFIX}{{{digest}}}:sessions"


def principal_task_keys(principal: Principal) -> list[str]:
    """Return the keys of all of a principal's tasks, and of its unfinished ones."""
    start = f"{_PREFIX}{{{principal_digest(principal)}}}:"
    return [f"{start}tasks", f"{start}unfinished-tasks"]


def suspects_mark_key(places_key: str) -> str:
    """Return the key that says that places were looked through a moment ago."""
    return f"{places_key}:looked"


def task_key(task_id: TaskId) -> str:
    """Return the key of a task's record."""
    return f"{_PREFIX}{{{_digest(task_id)}}}:task"


def runner_tasks_key(runner: NodeId) -> str:
    """Return the key of the unfinished tasks that a session server runs."""
    return f"{_PREFIX}{{{_digest(runner)}}}:runs"


def _digest(*parts: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return digest.hexdigest()
