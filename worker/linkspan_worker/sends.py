"""Sends of one request: picks whom to call, connects, waits between sends, and says so in the trace.

Above lies `calls`, which makes the calls; below lie `attempts` (what follows from a failure),
`owners` (who owns which session) and `placement` (the ways to session servers).
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import grpc
from opentelemetry import metrics, trace

from linkspan.session.v1.session_service_pb2 import ErrorReason
from linkspan_contract.status import Failure, read_failure
from linkspan_process.metrics.catalog import counter
from linkspan_process.overload import QueueGate
from linkspan_worker.attempts import Attempts
from linkspan_worker.members import Members
from linkspan_worker.metrics_table import RESENDS
from linkspan_worker.owners import OwnerCache, OwnerRoutes
from linkspan_worker.placement import Route, routed, was_never_sent

CONNECT_SECONDS: Final = 1.0
"""How long a connection to an owner may take; a stopped process accepts one and says nothing."""

RESEND_EVENT: Final = "linkspan.resend"

logger = logging.getLogger(__name__)

_resends = counter(metrics.get_meter("linkspan.worker"), RESENDS)


class SessionCallError(Exception):
    """A call to the session service failed for good.

    Attributes:
        failure: How.
        in_doubt: Whether the request may have begun, and nobody knows how it ended.
        resumable: Whether the client has an event id to resume the answer from.
    """

    def __init__(
        self, failure: Failure, *, in_doubt: bool = False, resumable: bool = False
    ) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.in_doubt = in_doubt
        self.resumable = resumable


@dataclass(slots=True)
class Servers:
    """All session servers.

    Attributes:
        placement: The way to any of them.
        owner_routes: The ways to single ones.
        retry_for_seconds: How long a request is sent again that fails again and again.
        owners: Who owns which session, as far as it is known.
        members: The single ones that there are; None if nobody can tell.
        leads_to_one: Whether a redirect to an owner is one to follow.
        queue: Who is told how long they take to begin with a request; None for nobody.
    """

    placement: Route
    owner_routes: OwnerRoutes
    retry_for_seconds: float
    owners: OwnerCache = field(default_factory=lambda: OwnerCache(time.monotonic))
    members: Members | None = None
    leads_to_one: Callable[[str], bool] = bool
    queue: QueueGate | None = None

    def placed(self, key: str) -> Route:
        """Return the way to the server that a key prefers, of those that there is a connection to."""
        if self.members is not None:
            for address in self.members.preferred(key):
                route = self.owner_routes.route_at(address)
                if route.has_tunnel() or route.is_ready():
                    return route
        return self.placement

    def renew(self, placement: Route) -> None:
        """Take new ways from now on; the old ones are closed once no call is on them."""
        self.owner_routes.retire(self.placement)
        self.placement = placement

    async def close(self) -> None:
        """End all calls and close all channels."""
        if self.members is not None:
            self.members.close()
        await self.owner_routes.close()
        await self.placement.close()


class Sends:
    """Who is called for one request, now and again."""

    __slots__ = ("_deadline", "_loop", "_routing_key", "_servers", "_session_id", "attempts")

    def __init__(
        self,
        servers: Servers,
        *,
        session_id: str,
        routing_key: str,
        timeout_seconds: float | None,
        counts: bool,
    ) -> None:
        """Begin a request.

        Args:
            servers: Whom there is to call.
            session_id: The session that it acts on; empty for none.
            routing_key: What decides who is called by placement; empty for any.
            timeout_seconds: How long it may take with all sends; None for as long as it likes.
            counts: As in `Attempts`.
        """
        self._servers = servers
        self._session_id = session_id
        self._routing_key = routing_key
        self._loop = asyncio.get_running_loop()
        self._deadline = None if timeout_seconds is None else self._loop.time() + timeout_seconds
        self.attempts = Attempts(
            servers.owners.get(session_id) if session_id else "",
            retry_for_seconds=servers.retry_for_seconds,
            counts=counts,
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The metadata of the next send."""
        return routed(self._routing_key) if self.attempts.placed else ()

    @property
    def unreachable_owner(self) -> str:
        """Which owner is out of reach, for the next send to tell."""
        return self.attempts.unreachable_owner

    def timeout_seconds(self) -> float | None:
        """Return how long the next send may take: what is left of the request's time."""
        return None if self._deadline is None else max(0.0, self._deadline - self._loop.time())

    def route_at_once(self) -> Route | None:
        """Return the way for the next send; None if it has to be connected first."""
        owner = self.attempts.owner
        if not owner:
            return self._placed()
        route = self._servers.owner_routes.route_to(owner)
        return route if route.has_tunnel() or route.is_ready() else None

    async def route(self) -> Route:
        """Return the way for the next send; if there is none to an owner, any server's will do."""
        route = self.route_at_once()
        if route is not None:
            return route
        route = self._servers.owner_routes.route_to(self.attempts.owner)
        left = self.timeout_seconds()
        within_seconds = CONNECT_SECONDS if left is None else min(CONNECT_SECONDS, left)
        if await route.connect(within_seconds=within_seconds):
            return route
        self._servers.owners.forget(self._session_id)
        self.attempts.unreachable()
        self._tell("OWNER_NOT_CONNECTED")
        return self._placed()

    def _placed(self) -> Route:
        return self._servers.placed(self._routing_key if self.attempts.placed else "")

    async def after(self, error: grpc.aio.AioRpcError) -> None:
        """Return when it is time for the next send.

        Args:
            error: How the last one failed.

        Raises:
            SessionCallError: There is to be none.
        """
        failure = read_failure(error)
        if failure.owner and not self._servers.leads_to_one(failure.owner):
            logger.warning("a redirect that leads to no session server was not followed")
            failure = replace(failure, owner="")
        pause_seconds = self.attempts.after(
            failure,
            never_sent=was_never_sent(error),
            now=self._loop.time(),
            spread=random.uniform(0.5, 1.0),  # noqa: S311 - it keeps no secret
        )
        left = self.timeout_seconds()
        if pause_seconds is None or (left is not None and left <= pause_seconds):
            raise SessionCallError(
                self.attempts.verdict(failure), in_doubt=self.attempts.begun_before > 0
            )
        if self.attempts.owner:
            self._servers.owners.put(self._session_id, self.attempts.owner)
        else:
            self._servers.owners.forget(self._session_id)
        named = failure.reason != ErrorReason.ERROR_REASON_UNSPECIFIED
        reason = ErrorReason.Name(failure.reason).removeprefix("ERROR_REASON_")
        self._tell(reason if named else failure.code.name)
        if pause_seconds:
            await asyncio.sleep(pause_seconds)

    def _tell(self, reason: str) -> None:
        """Say in the request's span, and in a metric, that it is sent again."""
        _resends.add(1, {"reason": reason})
        trace.get_current_span().add_event(
            RESEND_EVENT, {"attempt": self.attempts.sends, "reason": reason}
        )
