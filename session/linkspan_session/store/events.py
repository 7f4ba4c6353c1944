"""What an event log holds and promises: the messages of streams that a client may resume.

A stream is the answer to one request, or a session's listening stream. An event is on record before
it is sent, so that whatever a client has seen, and whatever it missed, can be read again.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from linkspan_contract.envelope import RequestId
from linkspan_session.store.base import SessionId

DEFAULT_MAX_LOG_BYTES: Final = 8 * 1024 * 1024
"""How much of a session's events is kept, in bytes of messages."""


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A stream on record.

    Attributes:
        session_id: The session it belongs to.
        stream_id: Its name, unique within the session.
        request_id: The request that it answers; None for the listening stream.
        traceparent: The W3C traceparent of the request that made it; may be empty.
        created_millis: When it was opened, in milliseconds since the Unix epoch.
        finished: Whether its last event is on record.
        last_sequence: The number of its newest event; 0 if it has none.
        first_sequence: The number of its oldest event that is kept; 1 if none was dropped.
    """

    session_id: SessionId
    stream_id: str
    request_id: RequestId | None
    traceparent: str
    created_millis: int
    finished: bool = False
    last_sequence: int = 0
    first_sequence: int = 1


class EventLog(Protocol):
    """Keeps events of streams. Every method is one atomic commit, durable when it returns.

    Every method may raise `StoreUnavailableError`, and then has changed nothing. The events of a
    session go when its record goes.
    """

    async def open_stream(self, stream: StreamRecord) -> StreamRecord:
        """Add a stream; if it is there already, change nothing. Returns what is there."""
        ...

    async def get_stream(self, session_id: SessionId, stream_id: str) -> StreamRecord | None:
        """Return a stream, or None if there is none, or none any more."""
        ...

    async def append(
        self, session_id: SessionId, stream_id: str, sequence: int, message: bytes, *, last: bool
    ) -> None:
        """Add an event to a stream that is open, and drop what is over the session's bound.

        The oldest finished streams are dropped first, then the oldest events of this one.

        Args:
            session_id: The session.
            stream_id: The stream.
            sequence: The event's number: one more than the newest on record.
            message: The event, opaque.
            last: Whether it finishes the stream.
        """
        ...

    async def read(
        self, session_id: SessionId, stream_id: str, *, after: int
    ) -> list[tuple[int, bytes]]:
        """Return the events with numbers above `after`, in order, each with its number."""
        ...
