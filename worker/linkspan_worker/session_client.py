"""Calls to the session service: the only module of the worker that touches the generated stub.

Below lies gRPC, with the caller's trace context put into the metadata of each call. Every failure
leaves here as a `SessionCallError`.
"""

import asyncio
import hashlib
from typing import Final, TypeAlias
from urllib.parse import quote

import grpc
from grpc_health.v1 import health_pb2

from linkspan.session.v1.session_pb2 import Header, Message, MessageKind, Principal
from linkspan.session.v1.session_service_pb2 import (
    End,
    HandleRequestRequest,
    HandleRequestResponse,
    InitRequest,
    Listen,
    Post,
    StreamOpened,
)
from linkspan.session.v1.session_service_pb2_grpc import SessionServiceStub
from linkspan_contract.limits import MAX_GRPC_MESSAGE_BYTES
from linkspan_contract.status import Failure, read_failure
from linkspan_propagation import traced_channel

__all__ = [
    "Answer",
    "Event",
    "Message",
    "MessageKind",
    "Principal",
    "SessionCallError",
    "SessionClient",
    "StreamOpened",
]

_SERVICE_NAME: Final = "linkspan.session.v1.SessionService"

_MAX_ROUTING_KEY_CHARS: Final = 256
_PRINTABLE: Final = "!#$&'()*+,/:;=?@[]"

ROUTING_KEY: Final = "linkspan-routing-key"
"""The metadata key that says which calls belong together, for whoever picks a session server."""

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_GRPC_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_GRPC_MESSAGE_BYTES),
    # A session server that comes back is found within a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long one attempt may take, in spite of its name: short of this, a busy machine looks dead.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

Event: TypeAlias = HandleRequestResponse
"""One event of an answer, as the session service sends it."""


class SessionCallError(Exception):
    """A call to the session service failed; `failure` says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Answer:
    """The events of one `HandleRequest` call, as they come."""

    def __init__(
        self, call: "grpc.aio.UnaryStreamCall[HandleRequestRequest, HandleRequestResponse]"
    ) -> None:
        self._call = call

    async def next(self) -> Event | None:
        """Return the next event, or None after the last.

        Cancelling it cancels the call.

        Raises:
            SessionCallError: The call failed.
        """
        try:
            event = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise SessionCallError(read_failure(error)) from None
        return event if isinstance(event, HandleRequestResponse) else None

    async def taken(self, *, within_seconds: float) -> None:
        """Wait until the session server has taken the request, failed it, or the time is over."""
        try:
            async with asyncio.timeout(within_seconds):
                await self._call.initial_metadata()
        except (grpc.aio.AioRpcError, TimeoutError):
            pass
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Else it is the call that was cancelled, which gRPC tells in the same way.

    def cancel(self) -> None:
        """Say that nobody waits for the answer any more; does nothing once it has ended."""
        self._call.cancel()


class SessionClient:
    """The session service behind one channel."""

    def __init__(self, target: str) -> None:
        """Make a client; it connects when it is first used, and again whenever it has to.

        Args:
            target: A gRPC target, such as `127.0.0.1:50051` or `dns:///sessions:50051`.
        """
        self._channel = traced_channel(grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS))
        self._stub = SessionServiceStub(self._channel)
        self._check_health = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )

    async def init(self, session_id: str, principal: Principal, *, timeout_seconds: float) -> None:
        """Create a session.

        Raises:
            SessionCallError: It was not created, or nobody can tell.
        """
        request = InitRequest(session_id=session_id, principal=principal)
        try:
            await self._stub.Init(request, timeout=timeout_seconds, metadata=_routed(session_id))
        except grpc.aio.AioRpcError as error:
            raise SessionCallError(read_failure(error)) from None

    def post(
        self,
        session_id: str | None,
        principal: Principal,
        message: str,
        *,
        headers: list[tuple[str, str]],
        single_answer: bool,
        routing_key: str,
        timeout_seconds: float | None,
    ) -> Answer:
        """Hand a client's message over; see the contract's `Post`.

        Calls with the same routing key go to the same session server, as far as that can be; an
        empty one leaves the choice open.
        """
        post = Post(
            message=message,
            headers=[Header(name=name, value=value) for name, value in headers],
            single_answer=single_answer,
        )
        request = HandleRequestRequest(session_id=session_id or "", principal=principal, post=post)
        return Answer(
            self._stub.HandleRequest(
                request, timeout=timeout_seconds, metadata=_routed(routing_key)
            )
        )

    def listen(self, session_id: str, principal: Principal, *, last_event_id: str) -> Answer:
        """Open the session's listening stream, or go on behind an event; see `Listen`."""
        request = HandleRequestRequest(
            session_id=session_id,
            principal=principal,
            listen=Listen(last_event_id=last_event_id),
        )
        return Answer(self._stub.HandleRequest(request, metadata=_routed(session_id)))

    def end(self, session_id: str, principal: Principal, *, timeout_seconds: float) -> Answer:
        """End a session."""
        request = HandleRequestRequest(session_id=session_id, principal=principal, end=End())
        return Answer(
            self._stub.HandleRequest(request, timeout=timeout_seconds, metadata=_routed(session_id))
        )

    async def is_serving(self, *, timeout_seconds: float) -> bool:
        """Ask the session server whether it takes calls; False if it does not answer in time."""
        request = health_pb2.HealthCheckRequest(service=_SERVICE_NAME)
        try:
            response = await self._check_health(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError:
            return False
        return response.status == health_pb2.HealthCheckResponse.SERVING

    async def close(self) -> None:
        """End all calls and close the channel."""
        await self._channel.close()


def _routed(key: str) -> tuple[tuple[str, str], ...]:
    """Write a routing key as metadata: percent-encoded, or as its digest if that is too long."""
    if not key:
        return ()
    value = quote(key, safe=_PRINTABLE)
    if len(value) > _MAX_ROUTING_KEY_CHARS:
        value = hashlib.sha256(value.encode()).hexdigest()
    return ((ROUTING_KEY, value),)
