"""What a session server refuses, and why.

    SessionError                 a call fails with a gRPC status; carries an ErrorReason
    ├── InvalidRequestError      the caller broke the contract
    ├── SessionNotFoundError     no such session, or another principal's
    │   └── ForeignSessionError  another principal's; looks the same to whoever calls
    ├── SessionEndedError        its client, or an operator, ended it
    ├── SessionExpiredError      it was not used for too long
    │   └── SessionTooOldError   or its lifetime is over
    ├── SessionIdTakenError      Init of an id that another principal has
    ├── SessionElsewhereError    another session server owns it, or should
    ├── SessionMovedError        another one has taken it over while the call ran
    ├── OwnerUnreachableError    its owner may be alive and does not answer
    ├── TooManySessionsError     its principal has as many as it may have
    ├── TooManyRequestsError     it runs as many requests as it may run
    ├── OverloadedError          this server has as many sessions in use as it may have
    ├── BusyError                more calls come than this server can serve
    ├── StoreUnavailableError    the store does not answer
    ├── AnswerUnrecordedError    it did not answer after the call had begun
    ├── EventUnknownError        an event id that nobody gave, or that is no longer on record
    ├── RecordTooNewError        the store holds what a newer version wrote
    └── DrainingError            the server is shutting down

    NotOwnerError                a commit of a server that is not the owner (any more); never
                                 leaves the session server, which lets go of the session

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


class ForeignSessionError(SessionNotFoundError):
    """The session is another principal's: its caller is told what `SessionNotFoundError` tells."""


class SessionEndedError(SessionError):
    """The session was ended, not long ago; told to nobody but its principal."""

    reason = ErrorReason.ERROR_REASON_SESSION_ENDED

    def __init__(self) -> None:
        super().__init__("Session not found: it was ended; start a new one")


class SessionExpiredError(SessionError):
    """The session expired, not long ago; told to nobody but its principal."""

    reason = ErrorReason.ERROR_REASON_SESSION_EXPIRED

    def __init__(self) -> None:
        super().__init__("Session not found: it was not used for too long; start a new one")


class SessionTooOldError(SessionExpiredError):
    """The session's lifetime is over, however much it was used."""

    def __init__(self) -> None:
        SessionError.__init__(self, "Session not found: its lifetime is over; start a new one")


class SessionElsewhereError(SessionError):
    """Another session server has the session in memory, or is to have it; the call was not begun."""

    reason = ErrorReason.ERROR_REASON_SESSION_ELSEWHERE

    def __init__(self, owner: str) -> None:
        """Say where.

        Args:
            owner: The id of the session server that owns it; empty for whichever is next.
        """
        super().__init__("another session server owns the session; call that one")
        self.owner = owner


class SessionMovedError(SessionError):
    """Another session server has taken the session over, or is about to; the call had begun."""

    reason = ErrorReason.ERROR_REASON_SESSION_MOVED

    def __init__(self) -> None:
        super().__init__(
            "another session server has taken the session over while the request ran; it may have run"
        )


class OwnerUnreachableError(SessionError):
    """The session's owner does not answer and may be alive all the same; nothing was begun."""

    reason = ErrorReason.ERROR_REASON_OWNER_UNREACHABLE

    def __init__(self) -> None:
        super().__init__("the session server that has this session does not answer; try again")


class TooManySessionsError(SessionError):
    """The principal has as many sessions as it may have; nothing was created."""

    reason = ErrorReason.ERROR_REASON_TOO_MANY_SESSIONS

    def __init__(self) -> None:
        super().__init__("too many sessions; end one of them, then try again")


class TooManyRequestsError(SessionError):
    """The session runs as many requests as it may run; this one was not begun."""

    reason = ErrorReason.ERROR_REASON_TOO_MANY_REQUESTS

    def __init__(self) -> None:
        super().__init__("the session has too many requests under way; wait for one of them")


class OverloadedError(SessionError):
    """This server has as many sessions in use as it may have; nothing was begun."""

    reason = ErrorReason.ERROR_REASON_OVERLOADED

    def __init__(self) -> None:
        super().__init__("the session server has too many sessions in use; try again")


class BusyError(SessionError):
    """More calls come than this server can serve; nothing was begun."""

    reason = ErrorReason.ERROR_REASON_BUSY

    def __init__(self) -> None:
        super().__init__("the session server has more requests than it can serve; try again")


class NotOwnerError(Exception):
    """Somebody else owns the session by now, or it is closed; nothing was written."""


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


class AnswerUnrecordedError(SessionError):
    """The store failed when the call had begun: nobody knows what of it is on record.

    Its reason is the one that has callers ask again as for a call that has begun before: they get
    the answer if it is on record after all, and the handler runs again only if that does no harm.
    """

    reason = ErrorReason.ERROR_REASON_SESSION_MOVED

    def __init__(self) -> None:
        super().__init__("the session store failed while the request ran; it may have run")


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
