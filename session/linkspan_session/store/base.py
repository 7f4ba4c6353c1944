"""What a session store holds and promises; every implementation passes the same test suite.

Nothing here knows gRPC or MCP: a handshake is kept as the text it came in, an event as bytes.

A session is owned by at most one session server at a time. Its record names the owner and an epoch
that grows with every change of owner. Whoever writes says which owner and epoch it writes as, and a
commit of any other is refused as a whole: a server that was stopped, cut off or slow can never
write over what its successor did. Who may claim a session is decided elsewhere
(`linkspan_session.ownership`), from what `get` says; the store makes sure that of two claims that
saw the same epoch one wins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, NewType, Protocol

from linkspan_contract.envelope import RequestId
from linkspan_session.store.nodes import NodeId

SessionId = NewType("SessionId", str)

NOBODY: Final = NodeId("")
"""The owner of a session that nobody owns."""

DEFAULT_MAX_LOG_BYTES: Final = 8 * 1024 * 1024
"""How much of a session's events is kept, in bytes of messages."""

MAX_FINISHED_STREAMS: Final = 100
"""How many finished streams of a session are kept, however small they are."""


class Principal(NamedTuple):
    """Whom a session belongs to; all empty is the anonymous principal."""

    issuer: str = ""
    subject: str = ""
    resource: str = ""


@dataclass(frozen=True, slots=True)
class Handshake:
    """What `initialize` settled, which is all it takes to build the session anew.

    Attributes:
        protocol_version: The negotiated version.
        params_json: The client's `initialize` parameters, as JSON.
        initialized: Whether `notifications/initialized` has come.
    """

    protocol_version: str
    params_json: str
    initialized: bool


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a client has asked of its session since the handshake.

    Attributes:
        log_level: The level of its last `logging/setLevel`; empty if there was none.
        subscriptions: The URIs of the resources that it is subscribed to, in order.
        scratch_json: What the hosted server keeps with the connection, as JSON; empty for nothing.
    """

    log_level: str = ""
    subscriptions: tuple[str, ...] = ()
    scratch_json: str = ""


class Closed(StrEnum):
    """How a session came to its end."""

    ENDED = "ended"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session at rest.

    Attributes:
        session_id: Its identifier, unique in the store.
        principal: Whom it belongs to; never changes.
        handshake: None until `initialize` has been answered.
        preferences: What its client has asked of it.
        created_millis: When it was created, in milliseconds since the Unix epoch.
        last_active_millis: When it was last used, in milliseconds since the Unix epoch.
        expires_millis: From when on it counts as expired; once it is closed, from when on it is
            not on record any more. In milliseconds since the Unix epoch.
        owner: Which session server has it in memory; `NOBODY` if none has.
        epoch: Counts its owners, from 1; a commit must name both.
        closed: How it came to its end; None while it has not.
        version: Counts its commits, from 1.
    """

    session_id: SessionId
    principal: Principal
    handshake: Handshake | None
    created_millis: int
    last_active_millis: int
    expires_millis: int
    owner: NodeId = NOBODY
    epoch: int = 1
    preferences: Preferences = field(default_factory=Preferences)
    closed: Closed | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """A session on record, and what the store knows of its owner.

    Attributes:
        record: The record.
        owner_alive: Whether its owner holds its lease, by the store's own clock; False if nobody
            owns it.
    """

    record: SessionRecord
    owner_alive: bool


@dataclass(frozen=True, slots=True)
class Ownership:
    """As whom a session server writes to a session: the fencing token of every commit."""

    session_id: SessionId
    owner: NodeId
    epoch: int


class StreamRecord(NamedTuple):
    """A stream on record: the answer to one request, or a session's listening stream.

    Attributes:
        session_id: The session it belongs to.
        stream_id: Its name, unique within the session.
        request_id: The request that it answers; None for the listening stream.
        traceparent: The W3C traceparent of the request that made it; may be empty.
        created_millis: When it was opened, in milliseconds since the Unix epoch.
        request_key: What its request is called when it is sent again; empty if it never is.
        finished: Whether its last event is on record.
        last_sequence: The number of its newest event; 0 if it has none.
        first_sequence: The number of its oldest event that is kept; 1 if none was dropped.
    """

    session_id: SessionId
    stream_id: str
    request_id: RequestId | None
    traceparent: str
    created_millis: int
    request_key: str = ""
    finished: bool = False
    last_sequence: int = 0
    first_sequence: int = 1


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event of a stream. It is on record before it is sent, so that it can be read again.

    Attributes:
        stream_id: The stream, which is on record or opened by the same commit.
        sequence: The event's number: one more than the newest of the stream.
        message: The event, opaque.
        last: Whether it finishes the stream.
    """

    stream_id: str
    sequence: int
    message: bytes
    last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one commit writes, all of it or nothing. Empty changes still check the ownership.

    Attributes:
        handshake: Replaces the handshake; None leaves it.
        preferences: Replaces the preferences; None leaves them.
        last_active_millis: When the session was last used; None leaves it.
        expires_millis: From when on it counts as expired; None leaves it.
        streams: Streams to add; one that is there already stays as it is.
        events: Events to add, in order. What is over the session's bounds is dropped: first the
            oldest events of a stream that this commit writes to, down to half of what is kept;
            then the oldest finished streams that it does not write to; then all events of streams
            that are open, but only earlier owners have written to, which can be gone on with all
            the same; then the oldest events of what it writes to. The newest event of a stream
            that it writes to stays, however large it is.
        storage: Values to set in the session's storage, by key; None deletes.
        release: Whether nobody owns the session afterwards.
        closed: Brings the session to its end: only the record itself stays, without an owner and
            with the next epoch, and until `expires_millis`, which must be given. None does not.
    """

    handshake: Handshake | None = None
    preferences: Preferences | None = None
    last_active_millis: int | None = None
    expires_millis: int | None = None
    streams: tuple[StreamRecord, ...] = ()
    events: tuple[EventRecord, ...] = ()
    storage: Mapping[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    release: bool = False
    closed: Closed | None = None


class SessionStore(Protocol):
    """Keeps sessions. Every method is one atomic commit, durable when it returns.

    Every method may raise `StoreUnavailableError`, and then has changed nothing. Cancelling a
    method leaves it open whether its commit happened. Reading a record that a newer version of
    Linkspan wrote raises `RecordTooNewError`; so does writing to it.
    """

    async def create(self, record: SessionRecord, *, max_of_principal: int) -> SessionRecord | None:
        """Add a record; if its id is there already, change nothing and return what is there.

        Args:
            record: What to add: of version 1, with its owner.
            max_of_principal: How many sessions its principal may have on record that are not
                closed, this one included.

        Raises:
            TooManySessionsError: There is no room for it; a record that is there already is
                returned all the same.
        """
        ...

    async def get(self, session_id: SessionId) -> Found | None:
        """Return a session, or None if there is none, or none any more. Closed ones are found."""
        ...

    async def claim(
        self, session_id: SessionId, node: NodeId, *, seen_epoch: int
    ) -> SessionRecord | None:
        """Make a server the owner, with the next epoch.

        Returns:
            The record as it is now; None if its epoch is not `seen_epoch` any more, or it is
            closed, or gone.
        """
        ...

    async def commit(self, ownership: Ownership, changes: Changes) -> int:
        """Write changes to a session as its owner.

        Returns:
            The record's version after it.

        Raises:
            NotOwnerError: The session has another owner or epoch, or is closed, or gone; nothing
                was changed.
        """
        ...

    async def expire(
        self,
        now_millis: int,
        *,
        keep_until_millis: int,
        limit: int,
        expired: list[SessionId] | None = None,
    ) -> int:
        """Close as expired what is due, whoever owns it, and remove what was closed long enough.

        Args:
            now_millis: The time, in milliseconds since the Unix epoch.
            keep_until_millis: How long the records stay, in milliseconds since the Unix epoch.
            limit: How many to close, and how many to remove, at most.
            expired: Takes the ids of what was closed; None if nobody wants to know. An id may be
                missing if the store's answer was lost.

        Returns:
            How many it dealt with; fewer than `limit` means that nothing is left. A store that
            does this by itself returns 0.
        """
        ...

    async def list_page(self, after: tuple[int, SessionId] | None, limit: int) -> list[Found]:
        """Return up to `limit` sessions ordered by creation and id, closed ones left out.

        A record that a newer version of Linkspan wrote is left out, too.

        Args:
            after: The `(created_millis, session_id)` of the last record of the page before.
            limit: How many at most; positive.
        """
        ...

    async def stored_bytes(self, session_ids: tuple[SessionId, ...]) -> dict[SessionId, int]:
        """Return what sessions take: the bytes of their messages and of the values in their storage.

        Returns:
            The bytes by session; 0 for one that is closed or gone.
        """
        ...

    async def get_stream(self, session_id: SessionId, stream_id: str) -> StreamRecord | None:
        """Return a stream, or None if there is none, or none any more."""
        ...

    async def find_stream(self, session_id: SessionId, request_key: str) -> StreamRecord | None:
        """Return the stream that answers a request, by the request's key; None if there is none.

        If several have the key, it is the one that was created last.
        """
        ...

    async def read_events(
        self, session_id: SessionId, stream_id: str, *, after: int
    ) -> list[tuple[int, bytes]]:
        """Return the events with numbers above `after`, in order, each with its number."""
        ...

    async def read_storage(self, session_id: SessionId) -> dict[str, bytes]:
        """Return all of a session's storage."""
        ...
