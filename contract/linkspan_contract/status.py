"""How an `ErrorReason` travels: as a gRPC status whose details hold a `google.rpc.ErrorInfo`.

One end calls `make_status`, the other `read_failure`; the table between them says which gRPC code
goes with which reason, as the comments of `ErrorReason` promise.

Source: https://google.aip.dev/193 and google/rpc/error_details.proto.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from linkspan.session.v1.session_service_pb2 import ErrorReason

ERROR_DOMAIN: Final = "linkspan.session.v1"
"""`ErrorInfo.domain` of every error of this contract."""

CORRELATION_ID: Final = "correlation_id"
"""The key of `ErrorInfo.metadata` under which an internal error can be found in the log."""

OWNER: Final = "owner"
"""The key of `ErrorInfo.metadata` under which SESSION_ELSEWHERE names the owner."""

_PREFIX: Final = "ERROR_REASON_"

CODE_OF_REASON: Final[Mapping[ErrorReason.ValueType, grpc.StatusCode]] = MappingProxyType(
    {
        ErrorReason.ERROR_REASON_INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
        ErrorReason.ERROR_REASON_SESSION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        ErrorReason.ERROR_REASON_SESSION_ID_TAKEN: grpc.StatusCode.ALREADY_EXISTS,
        ErrorReason.ERROR_REASON_STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_DRAINING: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_RECORD_TOO_NEW: grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.ERROR_REASON_EVENT_UNKNOWN: grpc.StatusCode.INVALID_ARGUMENT,
        ErrorReason.ERROR_REASON_SESSION_ENDED: grpc.StatusCode.NOT_FOUND,
        ErrorReason.ERROR_REASON_SESSION_EXPIRED: grpc.StatusCode.NOT_FOUND,
        ErrorReason.ERROR_REASON_SESSION_ELSEWHERE: grpc.StatusCode.FAILED_PRECONDITION,
        ErrorReason.ERROR_REASON_OWNER_UNREACHABLE: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_TOO_MANY_SESSIONS: grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorReason.ERROR_REASON_TOO_MANY_REQUESTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
        ErrorReason.ERROR_REASON_OVERLOADED: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_BUSY: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_SESSION_MOVED: grpc.StatusCode.UNAVAILABLE,
        ErrorReason.ERROR_REASON_INTERNAL: grpc.StatusCode.INTERNAL,
    }
)
"""The gRPC code of each reason. A reason that is not listed here must not be sent."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call, as its caller sees it.

    Attributes:
        code: The gRPC status code.
        reason: Why, or `ERROR_REASON_UNSPECIFIED` if gRPC itself or a stranger answered.
        message: What to do, for people; empty if nobody said.
        correlation_id: Where to look in the peer's log; empty unless the reason is INTERNAL.
        owner: Whom to call instead; empty unless the reason is SESSION_ELSEWHERE.
    """

    code: grpc.StatusCode
    reason: ErrorReason.ValueType
    message: str
    correlation_id: str = ""
    owner: str = ""


def make_status(
    reason: ErrorReason.ValueType, message: str, *, correlation_id: str = "", owner: str = ""
) -> grpc.Status:
    """Build the status to abort a call with.

    Args:
        reason: Why; must stand in `CODE_OF_REASON`.
        message: What the caller can do about it; no internals.
        correlation_id: Where to look in the log, for internal errors.
        owner: Whom to call instead, for a session that another server owns.
    """
    metadata = {CORRELATION_ID: correlation_id, OWNER: owner}
    info = error_details_pb2.ErrorInfo(
        reason=ErrorReason.Name(reason).removeprefix(_PREFIX),
        domain=ERROR_DOMAIN,
        metadata={key: value for key, value in metadata.items() if value},
    )
    detail = AnyMessage()
    detail.Pack(info)
    code: int = CODE_OF_REASON[reason].value[0]
    status = status_pb2.Status(code=code, message=message, details=[detail])
    return rpc_status.to_status(status)  # pyright: ignore[reportUnknownMemberType]


def read_failure(error: grpc.aio.AioRpcError) -> Failure:
    """Read a failed call's status; never raises, whoever sent it."""
    info = _error_info(error)
    reason = ErrorReason.ERROR_REASON_UNSPECIFIED
    correlation_id, owner = "", ""
    if info is not None:
        name = _PREFIX + info.reason
        if name in ErrorReason.keys():  # noqa: SIM118 - an enum wrapper, not a dict
            reason = ErrorReason.Value(name)
        correlation_id = info.metadata.get(CORRELATION_ID, "")
        owner = info.metadata.get(OWNER, "")
    return Failure(error.code(), reason, error.details() or "", correlation_id, owner)


def _error_info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        status = status_pb2.Status()
        info = error_details_pb2.ErrorInfo()
        try:
            status.ParseFromString(value)
            for detail in status.details:
                if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
                    return info
        except DecodeError:  # a stranger's bytes
            return None
    return None
