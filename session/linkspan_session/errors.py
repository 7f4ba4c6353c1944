"""What a session server refuses, and why.

    SessionError                 a call fails with a gRPC status; carries an ErrorReason
    ├── InvalidRequestError      the caller broke the contract
    ├── SessionNotFoundError     no such session, ended, or another principal's
    ├── SessionIdTakenError      Init of an id that another principal has
    ├── StoreUnavailableError    the store does not answer
    ├── EventUnknownError        an event id that nobody gave, or that is no longer on record
    ├── RecordTooNewError        the store holds what a newer version wrote
    └── DrainingError            the server is shutting down

    StartError (linkspan_process)
    └── AppError                 the user's server cannot be loaded

A JSON-RPC error that the hosted server answers with is none of these: it is an answer.
"""

from typing import ClassVar

from linkspan.session.v1.session_service_pb2 import ErrorReason
from linkspan_process.errors import StartError


class SessionError(Exception):
    """A call fails; the message tells the caller what to do and holds no internals."""

    reason: ClassVar[ErrorReason.ValueType]


class InvalidRequestError(SessionError):
    """A field breaks its documented limit; the same call will fail again."""

    reason = ErrorReason.ERROR_REASON_INVALID_REQUEST


class SessionNotFoundError(SessionError):
    """There is no such session for this principal."""

    reason = ErrorReason.ERROR_REASON_SESSION_NOT_FOUND

    def __init__(self) -> None:
        super().__init__("Session not found")


class SessionIdTakenError(SessionError):
    """The id belongs to another principal's session."""

    reason = ErrorReason.ERROR_REASON_SESSION_ID_TAKEN

    def __init__(self) -> None:
        super().__init__("the session id is taken; choose another")


class StoreUnavailableError(SessionError):
    """The store did not do what it was asked; nothing was changed."""

    reason = ErrorReason.ERROR_REASON_STORE_UNAVAILABLE

    def __init__(self) -> None:
        super().__init__("the session store does not answer; try again")


class EventUnknownError(SessionError):
    """There is no such event in this session, or not any more."""

    reason = ErrorReason.ERROR_REASON_EVENT_UNKNOWN

    def __init__(self) -> None:
        super().__init__("Last-Event-ID is not an event of this session; listen without it")


class RecordTooNewError(SessionError):
    """The record was written by a newer version of Linkspan."""

    reason = ErrorReason.ERROR_REASON_RECORD_TOO_NEW

    def __init__(self) -> None:
        super().__init__("a newer version wrote this session; upgrade this session server")


class DrainingError(SessionError):
    """The server is shutting down and takes no more calls."""

    reason = ErrorReason.ERROR_REASON_DRAINING

    def __init__(self) -> None:
        super().__init__("the session server is shutting down; try again")


class AppError(StartError):
    """The user's server cannot be loaded; the message says what to mend."""
