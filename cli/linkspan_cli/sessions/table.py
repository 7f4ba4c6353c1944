"""Sessions as text: a row of the table, the lines of `show`, a line of JSON. Pure.

Columns have fixed widths, so that rows can be written as they come. The last one is free, and holds
the id, which must not be cut.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from linkspan.session.v1.session_pb2 import Principal, Session, SessionState
from linkspan_cli.sessions.formats import duration, fit, number, plain, size
from linkspan_contract.session_digest import session_digest

_STATE_PREFIX: Final = "SESSION_STATE_"
_GAP: Final = "  "
_LABEL_CELLS: Final = 20

_MEANINGS: Final = {
    "created": "its client has yet to initialize it",
    "live": "a session server has it in memory",
    "asleep": "on record only; the next request wakes it",
    "ended": "its client, or an operator, ended it",
    "expired": "it was not used for too long, or its lifetime was over",
}


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cells: int
    text: Callable[[Session, float], str]
    right: bool = False


_COLUMNS: Final = (
    _Column("STATE", 7, lambda session, _: state_name(session)),
    _Column("OWNER", 21, lambda session, _: session.owner_address or "-"),
    _Column("AGE", 6, lambda session, now: _since(session.create_time, now), right=True),
    _Column("IDLE", 6, lambda session, now: _since(session.last_active_time, now), right=True),
    _Column("CLIENT", 24, lambda session, _: _client(session)),
    _Column("PROTOCOL", 10, lambda session, _: session.protocol_version or "-"),
    _Column("RUNNING", 7, lambda session, _: str(session.requests_in_flight), right=True),
    _Column("STORED", 6, lambda session, _: size(session.stored_bytes), right=True),
)
_ID_TITLE: Final = "ID"


def state_name(session: Session) -> str:
    """Return a session's state as people write it, such as `live`."""
    if session.state not in SessionState.values():
        return f"state {session.state}"  # a newer server's
    return SessionState.Name(session.state).removeprefix(_STATE_PREFIX).lower()


def header() -> str:
    """Write the line above the table."""
    titles = (fit(column.title, column.cells, right=column.right) for column in _COLUMNS)
    return _GAP.join((*titles, _ID_TITLE))


def row(session: Session, now: float) -> str:
    """Write a session as a line of the table.

    Args:
        session: The session.
        now: The time, in seconds since the Unix epoch.
    """
    cells = (
        fit(plain(column.text(session, now)), column.cells, right=column.right)
        for column in _COLUMNS
    )
    return _GAP.join((*cells, plain(session.session_id)))


def details(session: Session, now: float, *, counted_by_owner: bool) -> list[str]:
    """Write all there is about a session, one line each.

    Args:
        session: The session.
        now: The time, in seconds since the Unix epoch.
        counted_by_owner: Whether the number of requests that run is the owner's own word.
    """
    state = state_name(session)
    closed = state in ("ended", "expired")
    running = number(session.requests_in_flight)
    if not counted_by_owner:
        running = "not known: its owner cannot be asked from here"
    lines = [
        ("id", session.session_id),
        ("in logs and traces", session_digest(session.session_id)),
        ("state", f"{state}: {_MEANINGS[state]}" if state in _MEANINGS else state),
        *_principal(session.principal),
        ("client", _client(session)),
        ("protocol version", session.protocol_version or "-"),
        ("created", _ago(session.create_time, now)),
        ("last active", _ago(session.last_active_time, now)),
        ("record kept until" if closed else "expires", _ahead(session.expire_time, now)),
        ("owner", session.owner_address or "-"),
        ("epoch", str(session.epoch)),
        ("requests running", running),
        ("stored", f"{size(session.stored_bytes)} ({number(session.stored_bytes)} bytes)"),
    ]
    return [fit(label, _LABEL_CELLS) + plain(text) for label, text in lines]


def json_line(session: Session, *, counted_by_owner: bool = True) -> str:
    """Write a session as one JSON object, in ASCII; its names are the contract's.

    `state` is a word such as `live`; times are RFC 3339 in UTC; what is not known yet is empty.

    Args:
        session: The session.
        counted_by_owner: Whether the number of requests that run is to be told; else it is null.
    """
    principal = session.principal
    return json.dumps(
        {
            "session_id": session.session_id,
            "state": state_name(session),
            "principal": {
                "issuer": principal.issuer,
                "subject": principal.subject,
                "resource": principal.resource,
            },
            "protocol_version": session.protocol_version,
            "client_name": session.client_name,
            "client_version": session.client_version,
            "create_time": session.create_time.ToJsonString(),
            "last_active_time": session.last_active_time.ToJsonString(),
            "expire_time": session.expire_time.ToJsonString(),
            "requests_in_flight": session.requests_in_flight if counted_by_owner else None,
            "owner_address": session.owner_address,
            "epoch": session.epoch,
            "stored_bytes": session.stored_bytes,
        }
    )


def seconds_of(timestamp: Timestamp) -> float:
    """Return a point in time as seconds since the Unix epoch."""
    return timestamp.ToMilliseconds() / 1000


def _client(session: Session) -> str:
    return f"{session.client_name} {session.client_version}".strip() or "-"


def _principal(principal: Principal) -> list[tuple[str, str]]:
    if not (principal.issuer or principal.subject or principal.resource):
        return [("principal", "anonymous")]
    return [
        ("principal", principal.subject or "-"),
        ("issuer", principal.issuer or "-"),
        ("resource", principal.resource or "-"),
    ]


def _since(timestamp: Timestamp, now: float) -> str:
    return duration(now - seconds_of(timestamp))


def _ago(timestamp: Timestamp, now: float) -> str:
    return f"{_date(timestamp)} ({_since(timestamp, now)} ago)"


def _ahead(timestamp: Timestamp, now: float) -> str:
    left = seconds_of(timestamp) - now
    return f"{_date(timestamp)} ({f'in {duration(left)}' if left > 0 else 'now'})"


def _date(timestamp: Timestamp) -> str:
    return f"{timestamp.ToDatetime(tzinfo=UTC):%Y-%m-%d %H:%M:%S} UTC"
