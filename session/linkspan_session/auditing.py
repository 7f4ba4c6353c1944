"""What the audit trail of a session server says: who did what to which session, and how it ended.

Above lie `servicer`, `server_shells`, `calls`, `requests`, `directory`, `housekeeping` and
`tasks.runner`, which say what happened; below lie `peers` and `linkspan_process.audit`. Owns one
object, which has no trail unless one is asked for: whoever tells looks at `trail` first, and that is
all it costs then. Told in the event loop alone. Invariant: no session's id is told, nor anything of a
credential.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from linkspan.session.v1.session_service_pb2 import (
    ErrorReason,
    HandleRequestRequest,
    InitRequest,
)
from linkspan_contract.envelope import Request
from linkspan_contract.session_digest import session_digest
from linkspan_contract.shown_uri import shown_uri
from linkspan_process.audit import events
from linkspan_process.audit.content import excerpt
from linkspan_process.audit.events import Fields
from linkspan_session.answers import (
    CANCELLED,
    LOST,
    SESSION_ENDED,
    SHUTTING_DOWN,
    TIMED_OUT,
    Answer,
    Failed,
    Result,
)
from linkspan_session.errors import ForeignSessionError, SessionError
from linkspan_session.peers import Connected, told_of
from linkspan_session.retries import TOOL_METHOD
from linkspan_session.store import Principal, SessionId, SessionRecord
from linkspan_session.store.tasks import TaskRecord

if TYPE_CHECKING:
    from linkspan_process.audit import Trail

_END: Final = "end"

_OURS: Final[Mapping[Failed, str]] = MappingProxyType(
    {
        CANCELLED: "cancelled",
        TIMED_OUT: "timed_out",
        LOST: "lost",
        SHUTTING_DOWN: "shut_down",
        SESSION_ENDED: "session_ended",
    }
)
"""The answers that are not the hosted server's."""

_NOT_REFUSED: Final = frozenset(
    {
        ErrorReason.ERROR_REASON_UNSPECIFIED,
        ErrorReason.ERROR_REASON_SESSION_ELSEWHERE,
        ErrorReason.ERROR_REASON_SESSION_MOVED,
        ErrorReason.ERROR_REASON_OWNER_UNREACHABLE,
        ErrorReason.ERROR_REASON_OVERLOADED,
        ErrorReason.ERROR_REASON_STORE_UNAVAILABLE,
        ErrorReason.ERROR_REASON_RECORD_TOO_NEW,
        ErrorReason.ERROR_REASON_DRAINING,
        ErrorReason.ERROR_REASON_BUSY,
        ErrorReason.ERROR_REASON_INTERNAL,
    }
)
"""What a call fails with for reasons that are not its caller's."""

_TARGETS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "prompts/get": "name",
        "resources/read": "uri",
        "resources/subscribe": "uri",
        "resources/unsubscribe": "uri",
    }
)
"""For methods that act on a named thing: the parameter that names it."""


class _Caller(NamedTuple):
    """For whom a call is, as its worker says; what no worker called has none."""

    principal: Principal
    client_id: str
    session_id: str
    action: str


_caller: Final[ContextVar[_Caller | None]] = ContextVar("linkspan_audit_caller", default=None)


class SessionAudit:
    """Tells the trail, if there is one.

    Attributes:
        trail: Where events go; None for nowhere. Nothing else may be called then.
    """

    def __init__(self) -> None:
        self.trail: Trail | None = None
        self._shows_content = False

    def begin(self, trail: "Trail | None", *, content: bool) -> None:
        """Tell a trail from now on.

        Args:
            trail: Where events go; None for nowhere.
            content: Whether they show arguments and results.
        """
        self.trail = trail
        self._shows_content = content

    def come(self, request: InitRequest | HandleRequestRequest) -> None:
        """Say for whom this task, and what it starts, does something."""
        who = request.principal
        action = "init"
        if isinstance(request, HandleRequestRequest):
            action = request.WhichOneof("action") or ""
        principal = Principal(who.issuer, who.subject, who.resource)
        _caller.set(_Caller(principal, who.client_id, request.session_id, action))

    def created(self) -> None:
        """Say that the caller's session was created."""
        self._tell(events.SESSION_CREATE, outcome="ok")

    def listening(self) -> None:
        """Say that the caller begins to listen."""
        self._tell(events.LISTEN, outcome="ok")

    def ended(self, record: SessionRecord) -> None:
        """Say that a session was ended: by the caller, or by an operator if there is none."""
        caller = _caller.get()
        reason = "operator" if caller is None else "handshake_failed"
        if caller is not None and caller.action == _END:
            reason = "deleted"
        actor = "operator" if caller is None else "client"
        about = _about(record, client_id="" if caller is None else caller.client_id)
        self._put(events.SESSION_END, {"actor": actor, **about, "outcome": "ok", "reason": reason})

    def expired(self, session_id: SessionId, record: SessionRecord | None) -> None:
        """Say that a session expired; None if it cannot be had whose it was."""
        about = {"session": session_digest(session_id)} if record is None else _about(record)
        said = {"actor": "server", **about, "outcome": "ok", "reason": "expired"}
        self._put(events.SESSION_END, said)

    def answered(self, request: Request, answer: Answer | SessionError | None) -> None:
        """Say that a request of the caller has ended, and how; None if nobody will know."""
        params = request.params or {}
        outcome, code = outcome_of(request.method, answer)
        said: dict[str, str | int] = {"method": request.method, "request_id": str(request.id)}
        named: object = params.get("name")
        if request.method == TOOL_METHOD:
            said["tool"] = named if isinstance(named, str) else ""
        elif request.method in _TARGETS:
            parameter = _TARGETS[request.method]
            target: object = params.get(parameter)
            if isinstance(target, str):
                said["target"] = shown_uri(target) if parameter == "uri" else target
        said["outcome"] = outcome
        if code is not None:
            said["code"] = code
        if self._shows_content and request.method in (TOOL_METHOD, "prompts/get"):
            if "arguments" in params:
                said["arguments"] = excerpt(params["arguments"])
            if isinstance(answer, Result):
                said["result"] = excerpt(
                    {key: value for key, value in answer.value.items() if key != "_meta"}
                )
        is_call = request.method == TOOL_METHOD
        self._tell(events.TOOL_CALL if is_call else events.REQUEST, **said)

    def task_ended(self, tool: str, record: TaskRecord) -> None:
        """Say that a task has ended."""
        task = session_digest(record.task_id)
        self._tell(
            events.TASK_END, actor="server", tool=tool, task=task, outcome=record.status.value
        )

    def refused(self, error: SessionError) -> None:
        """Say that a try of the caller was refused, if it was for a reason of the caller's."""
        if error.reason in _NOT_REFUSED:
            return
        reason = ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_").lower()
        if isinstance(error, ForeignSessionError):  # told to nobody but the trail
            reason = "foreign_session"
        self._tell(events.REFUSED, outcome="refused", reason=reason)

    def turned_away(self, reason: str, rpc: str, call: Connected) -> None:
        """Say that a call was refused before anybody looked at what it asks for.

        Args:
            reason: Why, in one word.
            rpc: The name of what was called.
            call: The call.
        """
        said: dict[str, str | int] = {"actor": "peer", **told_of(call), "method": rpc}
        self._put(events.REFUSED, {**said, "outcome": "refused", "reason": reason})

    def operated(self, rpc: str, call: Connected, session_id: str = "") -> None:
        """Say that an operator has done something.

        Args:
            rpc: The name of what was called.
            call: The call.
            session_id: The session that it was about; empty for all.
        """
        said: dict[str, str | int] = {"actor": "operator", **told_of(call), "method": rpc}
        if session_id:
            said["session"] = session_digest(session_id)
        self._put(events.OPERATE, {**said, "outcome": "ok"})

    def _tell(self, name: str, **said: str | int) -> None:
        """Say what the caller did."""
        caller = _caller.get()
        about: dict[str, str | int] = {"actor": "operator"}
        if caller is not None:
            about = {"actor": "client", **_principal(caller.principal, caller.client_id)}
            if caller.session_id:
                about["session"] = session_digest(caller.session_id)
        self._put(name, {**about, **said})

    def _put(self, name: str, fields: Fields) -> None:
        if self.trail is not None:
            self.trail.tell(name, fields)


audit: Final = SessionAudit()
"""That of this process."""


def outcome_of(method: str, answer: Answer | SessionError | None) -> tuple[str, int | None]:
    """Return how a request ended, in one word, and the code of its JSON-RPC error if it has one.

    Args:
        method: Its method.
        answer: What it was answered with; an error if it may run again elsewhere, None if its
            process ended first.
    """
    match answer:
        case None:
            return "lost", None
        case Failed():
            # What carries data cannot be looked up, and is none of ours.
            return "error" if answer.data else _OURS.get(answer, "error"), answer.code
        case Result(value):
            if method == TOOL_METHOD and value.get("isError") is True:
                return "tool_error", None
            kind: object = value.get("resultType")
            return (str(kind) if kind in ("task", "input_required") else "ok"), None
        case _:
            return "moved", None


def _principal(principal: Principal, client_id: str) -> dict[str, str | int]:
    issuer, subject, resource = principal
    return {"issuer": issuer, "subject": subject, "resource": resource, "client_id": client_id}


def _about(record: SessionRecord, client_id: str = "") -> dict[str, str | int]:
    about = _principal(record.principal, client_id)
    about["session"] = session_digest(record.session_id)
    return about
