"""How an RPC ended, as its server sees it.

Pure decisions over what gRPC tells a servicer: the code that was set, the exception that came out
of the handler, whether the call was cancelled, and how much time was left. Above lies ``server``.

Invariant: whatever is handed in, the answer is one of the statuses of
https://grpc.io/docs/guides/status-codes/.
"""

import asyncio
from typing import Final

import grpc

_BY_NUMBER: Final[dict[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}

SERVER_ERRORS: Final = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Codes that make a SERVER span an error; the others are the caller's doing.
https://opentelemetry.io/docs/specs/semconv/rpc/grpc/#server"""

# See ``is_expired``.
_SLACK_SHARE: Final = 0.1
_SLACK_ROUNDING: Final = 0.01
_SLACK_DELAY_SECONDS: Final = 0.05
_SLACK_LEAST_SECONDS: Final = 0.005


def status_code(code: object) -> grpc.StatusCode | None:
    """Return the status that a servicer set, by whatever means ``set_code`` takes.

    Args:
        code: what ``ServicerContext.code()`` returned: None (nothing set), a ``grpc.StatusCode``,
            or a number, which gRPC takes just as well.

    Returns:
        None where nothing was set; UNKNOWN for what is no status, which is what gRPC sends then.
    """
    if code is None:
        return None
    if isinstance(code, grpc.StatusCode):
        return code
    if isinstance(code, int):
        return _BY_NUMBER.get(code, grpc.StatusCode.UNKNOWN)
    return grpc.StatusCode.UNKNOWN


def sync_status_code(code: object) -> grpc.StatusCode | None:
    """Return the status that a servicer of a sync server set.

    As ``status_code``, but a number is no status to a sync server: it sends UNKNOWN.
    """
    if code is None or isinstance(code, grpc.StatusCode):
        return code
    return grpc.StatusCode.UNKNOWN


def ended_status(
    code: grpc.StatusCode | None, error: BaseException | None, *, cancelled: bool, expired: bool
) -> grpc.StatusCode:
    """Return the status with which an RPC ended whose handler was called.

    Args:
        code: what the servicer set, None for nothing.
        error: what came out of the handler, None where it returned.
        cancelled: the RPC's task was cancelled before a status was sent. The client no longer gets
            a status then, not even from a handler that catches the cancellation and returns.
        expired: the deadline has passed, see ``is_expired``.
    """
    # An InternalError is what reading and writing raise when the client has gone.
    if cancelled or isinstance(error, asyncio.CancelledError | grpc.aio.InternalError):
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
    if error is None or isinstance(error, grpc.aio.AbortError):
        return grpc.StatusCode.OK if code is None else code
    if code is None or code is grpc.StatusCode.OK:
        return grpc.StatusCode.UNKNOWN  # what gRPC makes of an exception without a code
    return code


def is_expired(remaining_seconds: float | None, timeout_seconds: float | None) -> bool:
    """Say whether a cancelled RPC was cancelled by its deadline.

    A client ends a call by itself when its deadline passes, and by then the server's may lie ahead.
    gRPC sends what is left of the time, not an instant, so that the request's way to the server is
    added to it; and from one second on it rounds that up, by up to 1 % (two calls of 1.001 s were
    seen cancelled 5 and 7 ms before the server's deadline). So the last 50 ms and 1 % of the time
    count as passed, but not more than its last tenth. A client that cancels just then by itself is
    taken for one whose deadline has passed.

    Args:
        remaining_seconds: ``time_remaining()`` now; None means no deadline.
        timeout_seconds: ``time_remaining()`` when the handler was called; None means no deadline.
    """
    if remaining_seconds is None or timeout_seconds is None:
        return False
    slack_seconds = min(
        timeout_seconds * _SLACK_SHARE, timeout_seconds * _SLACK_ROUNDING + _SLACK_DELAY_SECONDS
    )
    return remaining_seconds <= max(slack_seconds, _SLACK_LEAST_SECONDS)
