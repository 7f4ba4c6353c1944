"""Which request a task of the worker is about, for logs and metrics.

A context variable, set once for each request by `endpoint`; what a request starts keeps it. What is
kept is what is there anyway: it is looked into only where something is logged, and once a request
where metrics are on.
"""

from contextvars import ContextVar
from typing import Final, NamedTuple

from opentelemetry.context import Context

from linkspan_contract.envelope import Batch, Envelope, Response
from linkspan_contract.session_digest import session_digest
from linkspan_worker.admission import SESSION_ID_HEADER
from linkspan_worker.headers import Headers

_MAX_METHOD_CHARS: Final = 256


class Subject(NamedTuple):
    """A request.

    Attributes:
        headers: Its headers.
        envelope: What its body says; None if there is none or it could not be read.
        context: That of its span.
    """

    headers: Headers
    envelope: Envelope | Batch | None
    context: Context


_current: Final[ContextVar[Subject | None]] = ContextVar("linkspan_worker_subject", default=None)


def set_subject(headers: Headers, envelope: Envelope | Batch | None, context: Context) -> None:
    """Say which request this task, and what it starts, is about."""
    _current.set(Subject(headers, envelope, context))


def subject() -> Subject | None:
    """Return the request that this task is about; None if it is about none."""
    return _current.get()


def log_fields() -> dict[str, str]:
    """Return what each line of the log says of the request: session and method.

    A session is named by its digest, as in spans: its id is as good as a key.
    """
    about = _current.get()
    if about is None:
        return {}
    fields: dict[str, str] = {}
    session_id = about.headers.get(SESSION_ID_HEADER)
    if session_id:
        fields["session"] = session_digest(session_id)
    if isinstance(about.envelope, Batch):
        fields["method"] = "batch"
    elif about.envelope is not None and not isinstance(about.envelope, Response):
        fields["method"] = about.envelope.method[:_MAX_METHOD_CHARS]
    return fields
