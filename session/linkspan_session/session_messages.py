"""What is known of a session, as the contract's `Session`. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from linkspan.session.v1.session_pb2 import Principal, Session, SessionState
from linkspan_session.kernel import client_of
from linkspan_session.life import State
from linkspan_session.overview import Overview
from linkspan_session.store import SessionRecord, address_of, operated_at

_MAX_CLIENT_CHARS: Final = 256

_STATES: Final[Mapping[State, SessionState.ValueType]] = MappingProxyType(
    {
        State.CREATED: SessionState.SESSION_STATE_CREATED,
        State.LIVE: SessionState.SESSION_STATE_LIVE,
        State.ASLEEP: SessionState.SESSION_STATE_ASLEEP,
        State.ENDED: SessionState.SESSION_STATE_ENDED,
        State.EXPIRED: SessionState.SESSION_STATE_EXPIRED,
    }
)


def overview_message(overview: Overview) -> Session:
    """Write all that is known of a session."""
    message = session_message(overview.record, overview.in_flight)
    message.state = _STATES[overview.state]
    if overview.owner_alive:
        message.owner_admin_address = operated_at(overview.record.owner)
        message.owned_here = overview.owned_here
    else:
        message.owner_address = ""
    message.stored_bytes = overview.stored_bytes
    return message


def session_message(record: SessionRecord, in_flight: int) -> Session:
    """Write the record of a session that this session server has in memory."""
    handshake = record.handshake
    name, version = client_of(handshake) if handshake else ("", "")
    principal = record.principal
    return Session(
        session_id=record.session_id,
        principal=Principal(
            issuer=principal.issuer, subject=principal.subject, resource=principal.resource
        ),
        state=_STATES[State.LIVE if handshake else State.CREATED],
        protocol_version=handshake.protocol_version if handshake else "",
        client_name=name[:_MAX_CLIENT_CHARS],
        client_version=version[:_MAX_CLIENT_CHARS],
        create_time=_timestamp(record.created_millis),
        last_active_time=_timestamp(record.last_active_millis),
        expire_time=_timestamp(record.expires_millis),
        requests_in_flight=in_flight,
        owner_address=address_of(record.owner),
        epoch=record.epoch,
    )


def _timestamp(millis: int) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromMilliseconds(millis)
    return timestamp
