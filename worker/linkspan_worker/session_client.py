"""What the session service is asked: one method for each thing that a client can want over HTTP.

Above lies `endpoint`; below lie `calls` (the answer to one request, however many sends it takes) and
`readiness`. These and what lies below them are the only modules of the worker that know the generated
stub. Every failure leaves here as a `SessionCallError`.
"""

import secrets
from collections.abc import Generator
from functools import partial
from typing import Final, NoReturn

import grpc
from opentelemetry.metrics import MeterProvider

from linkspan.session.v1.session_pb2 import Message, MessageKind, Principal
from linkspan.session.v1.session_service_pb2 import (
    Attempt,
    End,
    HandleRequestRequest,
    InitRequest,
    Listen,
    StreamOpened,
)
from linkspan_process.overload import QueueGate
from linkspan_process.tls.watching import TlsFiles
from linkspan_worker.calls import Answer, Event, Nothing, init
from linkspan_worker.members import Members
from linkspan_worker.owners import OwnerRoutes
from linkspan_worker.placement import Ways, open_owner, open_placement
from linkspan_worker.readiness import Readiness
from linkspan_worker.redirects import ANYWHERE, Whereabouts, leads_to_session_server
from linkspan_worker.sends import Servers, SessionCallError
from linkspan_worker.targets import name_of

__all__ = [
    "Answer",
    "Event",
    "Message",
    "MessageKind",
    "Nothing",
    "Principal",
    "SessionCallError",
    "SessionClient",
    "StreamOpened",
]

_KEY_BYTES: Final = 16
"""How unguessable the key of a request is: whoever knows it could fetch its result."""

_KEYS_AT_ONCE: Final = 128


class SessionClient:
    """The session service, on however many session servers."""

    def __init__(
        self,
        target: str,
        *,
        retry_for_seconds: float,
        contrib: bool = False,
        meter_provider: MeterProvider | None = None,
        whereabouts: Whereabouts = ANYWHERE,
        tls: TlsFiles | None = None,
        queue: QueueGate | None = None,
    ) -> None:
        """Make a client; it connects when it is first used, and again whenever it has to.

        Args:
            target: A gRPC target, such as `127.0.0.1:50051` or `dns:///sessions:50051`.
            retry_for_seconds: How long a request is sent again that fails again and again.
            contrib: Whether opentelemetry-instrumentation-grpc traces the calls.
            meter_provider: Where it is recorded how long calls take; None for nowhere.
            whereabouts: Where session servers are: redirects elsewhere are not followed.
            tls: Who this worker is; None for no TLS.
            queue: Who is told how long requests wait to be begun; None for nobody.
        """
        ways: Ways = {
            "contrib": contrib,
            "meter_provider": meter_provider,
            "tls": tls,
            "server_name": name_of(target),
        }
        self._open_placement = partial(open_placement, target, **ways)
        self.members: Final = Members(target)
        self._servers = Servers(
            self._open_placement(),
            OwnerRoutes(partial(open_owner, **ways)),
            retry_for_seconds,
            members=self.members,
            leads_to_one=partial(leads_to_session_server, target=target, whereabouts=whereabouts),
            queue=queue,
        )
        self._readiness = Readiness(lambda: self._servers.placement)

    @property
    def connection(self) -> grpc.ChannelConnectivity:
        """Whether there is a connection to any session server; asking makes none."""
        return self._servers.placement.channel.get_state()

    def connect(self) -> None:
        """Begin to connect, if there is no connection."""
        self._servers.placement.is_ready()

    def renew(self) -> None:
        """Connect anew from now on, since this worker has another certificate; what runs goes on."""
        self._servers.renew(self._open_placement())

    async def init(self, session_id: str, principal: Principal, *, timeout_seconds: float) -> None:
        """Create a session.

        Raises:
            SessionCallError: It was not created, or nobody can tell.
        """
        request = InitRequest(session_id=session_id, principal=principal)
        await init(self._servers, request, timeout_seconds=timeout_seconds)

    def post(
        self,
        session_id: str | None,
        principal: Principal,
        message: str,
        *,
        headers: list[tuple[str, str]],
        single_answer: bool,
        batch: bool,
        routing_key: str,
        timeout_seconds: float | None,
    ) -> Answer:
        """Hand a client's message over; see the contract's `Post`.

        Calls with the same routing key go to the same session server, as far as that can be; an
        empty one leaves the choice open. `batch` says whether the message is an array, which has
        several answers.
        """
        # Field by field: messages that are made first are copied into the request.
        request = HandleRequestRequest(session_id=session_id or "", principal=principal)
        request.attempt.key = _new_key()
        post = request.post
        post.message = message
        post.single_answer = single_answer
        for name, value in headers:
            post.headers.add(name=name, value=value)
        return Answer(
            self._servers,
            request,
            routing_key=routing_key,
            timeout_seconds=timeout_seconds,
            several=batch,
        )

    def listen(self, session_id: str, principal: Principal, *, last_event_id: str) -> Answer:
        """Open the session's listening stream, or go on behind an event; see `Listen`."""
        request = HandleRequestRequest(
            session_id=session_id, principal=principal, listen=Listen(last_event_id=last_event_id)
        )
        return Answer(self._servers, request, routing_key=session_id, timeout_seconds=None)

    def end(self, session_id: str, principal: Principal, *, timeout_seconds: float) -> Answer:
        """End a session."""
        request = HandleRequestRequest(
            session_id=session_id,
            principal=principal,
            end=End(),
            attempt=Attempt(key=_new_key()),
        )
        return Answer(
            self._servers, request, routing_key=session_id, timeout_seconds=timeout_seconds
        )

    async def is_serving(self, *, timeout_seconds: float) -> bool:
        """Ask whether any session server takes calls; False if none says so in time."""
        return await self._readiness.is_serving(timeout_seconds=timeout_seconds)

    async def refusal(self, *, timeout_seconds: float) -> str:
        """Ask a session server whether it lets this worker in; see `Readiness.refusal`."""
        return await self._readiness.refusal(timeout_seconds=timeout_seconds)

    async def close(self) -> None:
        """End all calls and close the channels."""
        await self._servers.close()


def _make_keys() -> Generator[str, None, NoReturn]:
    """Make keys; many for one call to the system, for which every other thread would wait."""
    while True:
        digits = secrets.token_hex(_KEY_BYTES * _KEYS_AT_ONCE)
        for start in range(0, len(digits), 2 * _KEY_BYTES):
            yield digits[start : start + 2 * _KEY_BYTES]


_new_key: Final = _make_keys().__next__
