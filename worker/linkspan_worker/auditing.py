"""What the audit trail of a worker says: which tries it refused by itself, and whose.

What a session server refuses, and all that it does, stands in the trail of that session server, which
knows how it ended. Above lies `endpoint`; below lies `linkspan_process.audit`. Invariant: no
session's id is told, nor anything of a credential.
"""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from linkspan_contract.envelope import Batch, Response
from linkspan_contract.session_digest import session_digest
from linkspan_process.audit import Trail
from linkspan_process.audit.events import REFUSED
from linkspan_worker.admission import SESSION_ID_HEADER
from linkspan_worker.arrival import Arrival
from linkspan_worker.http import HttpExchange

_TOLD: Final = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.MISDIRECTED_REQUEST,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""What is told of whoever is refused it; of all else only what the door has refused."""

_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        str(HTTPStatus.FORBIDDEN.value): "foreign_origin",
        str(HTTPStatus.MISDIRECTED_REQUEST.value): "unknown_host",
    }
)
"""What is told for reasons that are no words: spans and metrics have the status there."""

_TOOL_METHOD: Final = "tools/call"


class WorkerAudit:
    """Tells a trail."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail

    def refused(self, exchange: HttpExchange, arrival: Arrival) -> None:
        """Say that a request was refused, if it was for who sent it, from where, or how often.

        Args:
            exchange: The request.
            arrival: What it is, and why it is refused.
        """
        by_door = arrival.entry is not None and arrival.entry.refusal is not None
        if arrival.refused is None or not (by_door or arrival.refused.refusal.status in _TOLD):
            return
        refusal = arrival.refused.refusal
        more: dict[str, str | int] = {
            "reason": _WORDS.get(refusal.error_type, refusal.error_type),
            "status": refusal.status,
            "client_address": exchange.client_address,
        }
        self._tell(arrival, more)

    def shut_out(self, arrival: Arrival) -> None:
        """Say that a listener is not let in any more, and is cut off."""
        self._tell(arrival, {"reason": "no_longer_let_in"})

    def _tell(self, arrival: Arrival, more: dict[str, str | int]) -> None:
        who = arrival.principal  # of a stranger, nobody
        session_id = arrival.headers.get(SESSION_ID_HEADER)
        said: dict[str, str | int] = {
            "actor": "client",
            "issuer": who.issuer,
            "subject": who.subject,
            "resource": who.resource,
            "client_id": who.client_id,
            "session": session_digest(session_id) if session_id else "",
            **_of_message(arrival),
            "outcome": "refused",
            **more,
        }
        self._trail.tell(REFUSED, said)


def _of_message(arrival: Arrival) -> dict[str, str]:
    message = arrival.envelope
    if message is None or isinstance(message, Response):
        return {}
    if isinstance(message, Batch):
        return {"method": "batch"}
    said = {"method": message.method}
    name: object = (message.params or {}).get("name")
    if message.method == _TOOL_METHOD and isinstance(name, str):
        said["tool"] = name
    return said
