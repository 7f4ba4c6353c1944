"""Requests that there is no room or no time for: answered at once, before anybody looks at them.

Above lies `server`; below lie the HTTP server, which asks for each request, and
`linkspan_process.overload`. Such a request has no span and is not counted among the durations of MCP:
the whole point is that it costs next to nothing. It is counted as a refusal. Health is always told.
"""

from collections.abc import Callable
from typing import Final

from linkspan_contract.envelope import INTERNAL_ERROR, encode_error
from linkspan_process.overload import LoadGate, QueueGate
from linkspan_worker.arrival import read_no_further
from linkspan_worker.failures import RETRY_AFTER_SECONDS
from linkspan_worker.headers import JSON, Headers
from linkspan_worker.http import HttpExchange
from linkspan_worker.refusals import refusals

_HEADERS: Final = (("content-type", JSON), ("retry-after", str(RETRY_AFTER_SECONDS)))
_BODY: Final = encode_error(
    None, INTERNAL_ERROR, "The worker has more requests than it can serve; try again"
).encode()
_STATUS: Final = 503


class Shedding:
    """Asked before a request is served; see `Shed`."""

    def __init__(
        self,
        *,
        max_in_flight: int,
        shed_above_seconds: float,
        paths: tuple[str, ...],
        queue: QueueGate | None = None,
        fields_of: Callable[[HttpExchange], str] = lambda _: "",
    ) -> None:
        """Begin; within the event loop that serves.

        Args:
            max_in_flight: How many requests may be served at once.
            shed_above_seconds: How far behind the loop may be.
            paths: What may be turned away.
            queue: Knows how long requests wait for session servers; None if nobody does.
            fields_of: Writes the headers that each answer to a request needs.
        """
        self._max_in_flight = max_in_flight
        self._gate = LoadGate(shed_above_seconds)
        self._queue = queue
        self._fields_of = fields_of
        self._paths = paths

    def __call__(self, exchange: HttpExchange, running: int) -> bool:
        """Answer a request that is not to be served; tells whether that is so."""
        if running >= self._max_in_flight:
            reason = "in_flight"
        elif self._gate.turns_away(running):
            reason = "overloaded"
        elif self._queue is not None and self._queue.turns_away(running):
            reason = "queue"
        else:
            return False
        if exchange.path not in self._paths:
            return False
        read_no_further(exchange, Headers(exchange.headers))
        refusals.add(1, {"reason": reason})
        exchange.own_fields = self._fields_of(exchange)
        exchange.respond(_STATUS, _HEADERS, _BODY)
        return True
