"""How streams and their events are called, and how a stream begins on record. Pure but for a count.

Above lie `streams` and `live`.
"""

import hashlib
import itertools
import secrets
from typing import Final

from linkspan_contract.envelope import RequestId
from linkspan_session.errors import EventUnknownError
from linkspan_session.store import SessionId, StreamRecord

_PROCESS: Final = secrets.token_urlsafe(12)
"""What the names of streams begin with that are made in this process, and in no other."""

_streams: Final = itertools.count()


def event_id(stream_id: str, sequence: int) -> str:
    """Name an event: its stream's name and its number."""
    return f"{stream_id}.{sequence}"


def parse_event_id(text: str) -> tuple[str, int]:
    """Read an event's name.

    Raises:
        EventUnknownError: Nobody here gave such a name.
    """
    stream_id, dot, number = text.rpartition(".")
    if not (dot and stream_id and number.isascii() and number.isdigit() and len(number) <= 15):  # noqa: PLR2004
        raise EventUnknownError
    return stream_id, int(number)


def new_stream_id() -> str:
    """Make a name that no other stream of any session has."""
    return f"{_PROCESS}{next(_streams):x}"


def listening_stream_id(session_id: SessionId) -> str:
    """Return the name of a session's listening stream; it is the same in every process."""
    return hashlib.sha256(b"listening " + session_id.encode()).hexdigest()[:12]


def call_stream_record(
    session_id: SessionId,
    request_id: RequestId,
    request_key: str,
    traceparent: str,
    now_millis: int,
) -> StreamRecord:
    """Describe the stream of a request's answer, before it is on record."""
    return StreamRecord(
        session_id, new_stream_id(), request_id, traceparent, now_millis, request_key
    )


def listening_stream_record(
    session_id: SessionId, traceparent: str, now_millis: int
) -> StreamRecord:
    """Describe a session's listening stream, before it is on record."""
    return StreamRecord(session_id, listening_stream_id(session_id), None, traceparent, now_millis)
