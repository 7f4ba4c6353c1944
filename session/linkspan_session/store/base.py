"""What a session store holds and promises; every implementation passes the same test suite.

Nothing here knows gRPC or MCP: a handshake is kept as the text it came in.
"""

from dataclasses import dataclass
from typing import NewType, Protocol

SessionId = NewType("SessionId", str)


@dataclass(frozen=True, slots=True)
class Principal:
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
class SessionRecord:
    """A session at rest.

    Attributes:
        session_id: Its identifier, unique in the store.
        principal: Whom it belongs to; never changes.
        handshake: None until `initialize` has been answered.
        created_millis: When it was created, in milliseconds since the Unix epoch.
        last_active_millis: When it was last used, in milliseconds since the Unix epoch.
    """

    session_id: SessionId
    principal: Principal
    handshake: Handshake | None
    created_millis: int
    last_active_millis: int


class SessionStore(Protocol):
    """Keeps session records. Every method is one atomic commit, durable when it returns.

    Every method may raise `StoreUnavailableError`, and then has changed nothing. Cancelling a
    method leaves it open whether its commit happened.
    """

    async def create(self, record: SessionRecord) -> SessionRecord | None:
        """Add a record; if its id is there already, change nothing and return what is there."""
        ...

    async def get(self, session_id: SessionId) -> SessionRecord | None:
        """Return a record, or None if there is none.

        Raises:
            RecordTooNewError: A newer version of Linkspan wrote the record.
        """
        ...

    async def save_handshake(self, session_id: SessionId, handshake: Handshake) -> bool:
        """Set the handshake; False if there is no such record."""
        ...

    async def touch(self, session_id: SessionId, last_active_millis: int) -> None:
        """Set when the session was last used; a record that is gone stays gone."""
        ...

    async def delete(self, session_id: SessionId) -> bool:
        """Remove a record; False if there was none."""
        ...

    async def list_page(
        self, after: tuple[int, SessionId] | None, limit: int
    ) -> list[SessionRecord]:
        """Return up to `limit` records ordered by creation and id.

        Args:
            after: The `(created_millis, session_id)` of the last record of the page before.
            limit: How many at most; positive.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way and release the store. Call once, last."""
        ...
