"""How a request fails over HTTP: one table from gRPC to HTTP status and JSON-RPC error.

Pure. A `Failure` is what the session service said; a `Refusal` is what the client is told. Nothing
else in the worker picks a status for a failed call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import grpc

from linkspan.session.v1.session_service_pb2 import ErrorReason
from linkspan_contract.envelope import INTERNAL_ERROR, INVALID_REQUEST, REQUEST_TIMEOUT
from linkspan_contract.status import Failure

RETRY_AFTER_SECONDS: Final = 1
"""What `Retry-After` says: a session server is back, or another has taken over, within this."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered with an error.

    Attributes:
        status: The HTTP status.
        code: The JSON-RPC error code.
        message: What the client can do about it; holds no internals.
        data: The JSON-RPC error's data, if any.
        headers: HTTP headers that go with the status.
        error_type: `error.type` of the span: low in cardinality.
    """

    status: int
    code: int
    message: str
    error_type: str
    data: object | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Row:
    status: int
    code: int
    message: str | None
    """None passes the session server's own words on."""
    retry: bool = False


_AWAY: Final = _Row(
    503, INTERNAL_ERROR, "The session server is not reachable; try again", retry=True
)
_IN_DOUBT: Final = _Row(
    503,
    -32000,  # the SDKs' "connection closed"
    "The session server was lost before the request was answered; it may have run",
)
_IN_DOUBT_NAMED: Final = _Row(503, -32000, None)
_BROKEN: Final = _Row(500, INTERNAL_ERROR, "Internal server error")

_BY_REASON: Final[Mapping[ErrorReason.ValueType, _Row]] = MappingProxyType(
    {
        ErrorReason.ERROR_REASON_INVALID_REQUEST: _Row(400, INVALID_REQUEST, None),
        # 404 is the specification's status; code and words are the official Python SDK's.
        ErrorReason.ERROR_REASON_SESSION_NOT_FOUND: _Row(404, INVALID_REQUEST, "Session not found"),
        # The worker mints ids of 192 bits: taken means that something is badly wrong.
        ErrorReason.ERROR_REASON_SESSION_ID_TAKEN: _BROKEN,
        ErrorReason.ERROR_REASON_STORE_UNAVAILABLE: _Row(503, INTERNAL_ERROR, None, retry=True),
        ErrorReason.ERROR_REASON_DRAINING: _Row(503, INTERNAL_ERROR, None, retry=True),
        ErrorReason.ERROR_REASON_RECORD_TOO_NEW: _Row(503, INTERNAL_ERROR, None, retry=True),
        ErrorReason.ERROR_REASON_EVENT_UNKNOWN: _Row(400, INVALID_REQUEST, None),
        ErrorReason.ERROR_REASON_SESSION_ENDED: _Row(404, INVALID_REQUEST, None),
        ErrorReason.ERROR_REASON_SESSION_EXPIRED: _Row(404, INVALID_REQUEST, None),
        # The next four, too, are tried again before anybody is told: see `attempts`.
        ErrorReason.ERROR_REASON_SESSION_ELSEWHERE: _Row(
            503,
            INTERNAL_ERROR,
            "The session is on its way to another server; try again",
            retry=True,
        ),
        ErrorReason.ERROR_REASON_SESSION_MOVED: _Row(503, INTERNAL_ERROR, None, retry=True),
        ErrorReason.ERROR_REASON_OWNER_UNREACHABLE: _Row(503, INTERNAL_ERROR, None, retry=True),
        ErrorReason.ERROR_REASON_OVERLOADED: _Row(503, INTERNAL_ERROR, None, retry=True),
        # Not tried again: that would make more of what there is too much of.
        ErrorReason.ERROR_REASON_BUSY: _Row(503, INTERNAL_ERROR, None, retry=True),
        ErrorReason.ERROR_REASON_TOO_MANY_SESSIONS: _Row(429, INVALID_REQUEST, None, retry=True),
        ErrorReason.ERROR_REASON_TOO_MANY_REQUESTS: _Row(429, INVALID_REQUEST, None, retry=True),
        ErrorReason.ERROR_REASON_INTERNAL: _BROKEN,
    }
)

_BY_CODE: Final[Mapping[grpc.StatusCode, _Row]] = MappingProxyType(
    {
        grpc.StatusCode.UNAVAILABLE: _AWAY,
        grpc.StatusCode.CANCELLED: _AWAY,
        # Not a session server of ours, or one of another version: trying again may find another.
        grpc.StatusCode.UNIMPLEMENTED: _AWAY,
        # It lets others in; the worker's log says whom it takes this one for.
        grpc.StatusCode.PERMISSION_DENIED: _AWAY,
        grpc.StatusCode.DEADLINE_EXCEEDED: _Row(504, REQUEST_TIMEOUT, "Request timed out"),
    }
)
"""For failures that gRPC itself reports, which have no reason."""


SHUTTING_DOWN: Final = Refusal(
    status=503,
    code=-32000,  # the SDKs' "connection closed"
    message="The worker shut down before the request was answered",
    error_type="shutting_down",
)
"""For a call that a drain did not wait for. It may have run, so nobody is asked to try again."""


def refusal_of(failure: Failure, *, in_doubt: bool = False) -> Refusal:
    """Look up what a client is told when a call to the session service failed.

    Args:
        failure: How it failed.
        in_doubt: Whether the request may have begun: then nobody is asked to try again.
    """
    row = _BY_REASON.get(failure.reason) or _BY_CODE.get(failure.code, _BROKEN)
    named = failure.reason != ErrorReason.ERROR_REASON_UNSPECIFIED
    if in_doubt and row.retry:
        row = _IN_DOUBT_NAMED if named else _IN_DOUBT
    reason = ErrorReason.Name(failure.reason).removeprefix("ERROR_REASON_")
    return Refusal(
        status=row.status,
        code=row.code,
        message=row.message or failure.message,
        error_type=reason if named else failure.code.name,
        data={"correlationId": failure.correlation_id} if failure.correlation_id else None,
        headers=(("retry-after", str(RETRY_AFTER_SECONDS)),) if row.retry else (),
    )
