"""Calls to the session service: the answer to one request, however many sends it takes.

Above lies `session_client`, which says what is asked; below lies `sends`, which says whom and when.
Whoever reads an answer does not see that it was sent again. Invariants: each event is passed on
once, in order; an answer whose last event is out is not asked for again.
"""

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

import grpc

from linkspan.session.v1.session_pb2 import MessageKind
from linkspan.session.v1.session_service_pb2 import (
    ErrorReason,
    HandleRequestRequest,
    HandleRequestResponse,
    InitRequest,
    StreamOpened,
)
from linkspan_contract.status import read_failure
from linkspan_worker.placement import Route
from linkspan_worker.sends import Sends, Servers, SessionCallError

if TYPE_CHECKING:
    _Call: TypeAlias = "grpc.aio.UnaryStreamCall[HandleRequestRequest, HandleRequestResponse]"

Event: TypeAlias = HandleRequestResponse
"""One event of an answer, as the session service sends it."""

_FINAL_KINDS: Final = (MessageKind.MESSAGE_KIND_RESULT, MessageKind.MESSAGE_KIND_ERROR)

_SETTLED_SECONDS: Final = 1.0
"""How long a stream must have lived for its end not to be one more failure in a row."""


async def init(servers: Servers, request: InitRequest, *, timeout_seconds: float) -> None:
    """Create a session.

    Raises:
        SessionCallError: It was not created, or nobody can tell.
    """
    sends = Sends(
        servers,
        session_id=request.session_id,
        routing_key=request.session_id,
        timeout_seconds=timeout_seconds,
        counts=False,
    )
    while True:
        route = await sends.route()
        request.unreachable_owner = sends.unreachable_owner
        call = route.stub.Init(request, timeout=sends.timeout_seconds(), metadata=sends.metadata)
        route.hold(call)
        try:
            await call
            return
        except grpc.aio.AioRpcError as error:
            await sends.after(error)


class Answer:
    """The events of one request, as they come."""

    def __init__(
        self,
        servers: Servers,
        request: HandleRequestRequest,
        *,
        routing_key: str,
        timeout_seconds: float | None,
        several: bool = False,
    ) -> None:
        """Send the request, unless it has to wait for a connection; then `next` does.

        Args:
            servers: Whom there is to call.
            request: What is asked; this object alters it before it is sent again.
            routing_key: What decides who is called by placement; empty for any.
            timeout_seconds: How long it may take with all sends; None for as long as it likes.
            several: Whether several requests are in it, and as many answers are to come.
        """
        self._request = request
        self._several = several
        self._listening = request.HasField("listen")
        self._sends = Sends(
            servers,
            session_id=request.session_id,
            routing_key=routing_key,
            timeout_seconds=timeout_seconds,
            counts=not self._listening,
        )
        self._call: _Call | None = None
        self._ended = False
        """Whether nothing is sent again, because the answer is out or nobody waits for it."""
        self._moved: asyncio.Event | None = None
        """Set when the call is another one, or none any more; made for who waits for that."""
        self._opened = False
        """Whether the client has a stream."""
        self._passed = False
        """Whether a message was passed on."""
        self._seen_event_id = ""
        """The id of the last event that had one."""
        self._sent_at = 0.0
        self._heard = False
        """Whether the last send has brought an event."""
        self._progressed = False
        """Whether the last send has brought something new."""
        route = self._sends.route_at_once()
        if route is not None:
            self._send(route)

    async def next(self) -> Event | None:
        """Return the next event, or None after the last.

        Cancelling it cancels the call.

        Raises:
            SessionCallError: The call failed for good.
        """
        while True:
            call = self._call
            if call is None:
                call = await self._send_again()
            try:
                event = await call.read()
            except grpc.aio.AioRpcError as error:
                if not await self._goes_on(error):
                    return None
                continue
            if isinstance(event, HandleRequestResponse):
                return self._note(event)
            self._end()
            return None

    async def taken(self, *, within_seconds: float) -> None:
        """Wait until a session server has taken the request, it has failed, or the time is over.

        Somebody else must be waiting for `next` meanwhile, who sends it again if need be.
        """
        try:
            async with asyncio.timeout(within_seconds):
                while not self._ended:
                    call = self._call
                    self._moved = asyncio.Event()
                    if call is not None:
                        await call.initial_metadata()
                        if not call.done() or await call.code() is grpc.StatusCode.OK:
                            return
                    if call is self._call:
                        await self._moved.wait()
        except (grpc.aio.AioRpcError, TimeoutError):
            pass
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Else it is the call that was cancelled, which gRPC tells in the same way.

    def cancel(self) -> None:
        """Say that nobody waits for the answer any more; does nothing once it has ended."""
        if self._call is not None:
            self._call.cancel()
        self._end()

    def _send(self, route: Route) -> "_Call":
        self._sent_at = asyncio.get_running_loop().time()
        call = route.stub.HandleRequest(
            self._request,
            timeout=self._sends.timeout_seconds(),
            metadata=self._sends.metadata,
        )
        route.hold(call)
        self._call = call
        self._heard = self._progressed = False
        if self._moved is not None:
            self._moved.set()
        return call

    async def _send_again(self) -> "_Call":
        route = await self._sends.route()
        self._request.unreachable_owner = self._sends.unreachable_owner
        if not self._listening:
            self._request.attempt.begun_before = self._sends.attempts.begun_before
            self._request.attempt.seen_event_id = self._seen_event_id
        elif self._seen_event_id:
            self._request.listen.last_event_id = self._seen_event_id
        return self._send(route)

    async def _goes_on(self, error: grpc.aio.AioRpcError) -> bool:
        """Wait until it is time to send the request again; False if the answer just ends.

        Raises:
            SessionCallError: It is not to be sent again.
        """
        lived_seconds = asyncio.get_running_loop().time() - self._sent_at
        if self._progressed or (self._heard and lived_seconds >= _SETTLED_SECONDS):
            self._sends.attempts.succeeded()
        if self._ended or self._has_gap():
            self._end()
            raise SessionCallError(read_failure(error), in_doubt=not self._listening)
        self._call = None
        try:
            await self._sends.after(error)
        except SessionCallError as failed:
            self._end()
            unknown = failed.failure.reason == ErrorReason.ERROR_REASON_EVENT_UNKNOWN
            if self._listening and self._opened and unknown:
                return False  # the client comes back by itself, and is told then
            failed.resumable = bool(self._seen_event_id)
            raise
        return True

    def _has_gap(self) -> bool:
        """Tell whether messages were passed on that nobody could say where to go on behind."""
        return self._passed and not self._seen_event_id and not self._listening

    def _note(self, event: Event) -> Event:
        """Remember what an event means for sending again, and return what is to be passed on."""
        self._heard = True
        match event.WhichOneof("event"):
            case "message":
                self._opened = self._passed = self._progressed = True
                if event.message.event_id:
                    self._seen_event_id = event.message.event_id
                if event.message.kind in _FINAL_KINDS and not self._several:
                    self._ended = True
            case "stream_opened":
                return self._note_opened(event)
            case _:
                self._ended = True
        return event

    def _note_opened(self, event: Event) -> Event:
        """Pass on only once where to resume from; what another server made is to be linked to."""
        self._opened = True
        opened = event.stream_opened
        if self._seen_event_id:
            link = opened.linked_traceparent
            return HandleRequestResponse(stream_opened=StreamOpened(linked_traceparent=link))
        self._seen_event_id = opened.event_id
        return event

    def _end(self) -> None:
        self._ended = True
        if self._moved is not None:
            self._moved.set()
