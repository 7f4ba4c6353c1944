"""Which session and method a task of the session server is about, for logs.

A context variable, set by `servicer` for each call and by `requests` for each message; what a
handler starts keeps it. It is looked into only where something is logged.
"""

from contextvars import ContextVar
from typing import Final

from linkspan_contract.session_digest import session_digest

_MAX_METHOD_CHARS: Final = 256

_current: Final[ContextVar[tuple[str, str]]] = ContextVar("linkspan_subject", default=("", ""))


def set_subject(session_id: str, method: str = "") -> None:
    """Say what this task, and what it starts, is about.

    Args:
        session_id: The session; empty for none.
        method: The method of the message; empty where none is known yet.
    """
    _current.set((session_id, method))


def log_fields() -> dict[str, str]:
    """Return what each line of the log says: session and method.

    A session is named by its digest, as in spans: its id is as good as a key.
    """
    session_id, method = _current.get()
    fields: dict[str, str] = {}
    if session_id:
        fields["session"] = session_digest(session_id)
    if method:
        fields["method"] = method[:_MAX_METHOD_CHARS]
    return fields
