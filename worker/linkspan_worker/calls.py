"""Calls to the session service: the answer to one request, however many sends it takes.

Above lies `session_client`, which says what is asked; below lie `sends`, which says whom and when,
and `reading`. Whoever takes an answer does not see that it was sent again. Invariants: each event is
passed on once, in order; an answer whose last event is out is not asked for again. As long as nothing
fails, an answer has no task of its own.
"""

import asyncio
from typing import Final

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
from linkspan_tunnel import TunnelUnaryStreamCall
from linkspan_worker.placement import Route
from linkspan_worker.reading import CallReader, Event, Nothing, reader_of
from linkspan_worker.sends import Sends, Servers, SessionCallError
from linkspan_worker.signals import Sign

__all__ = ["Answer", "Event", "Nothing", "init"]

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

    __slots__ = (
        "_ended",
        "_failed",
        "_heard",
        "_listening",
        "_loop",
        "_opened",
        "_passed",
        "_progressed",
        "_queue",
        "_reader",
        "_request",
        "_resending",
        "_seen_event_id",
        "_sends",
        "_sent_at",
        "_several",
        "changed",
    )

    def __init__(
        self,
        servers: Servers,
        request: HandleRequestRequest,
        *,
        routing_key: str,
        timeout_seconds: float | None,
        several: bool = False,
    ) -> None:
        """Send the request, at once or when there is a connection for it.

        Args:
            servers: Whom there is to call.
            request: What is asked; this object alters it before it is sent again.
            routing_key: What decides who is called by placement; empty for any.
            timeout_seconds: How long it may take with all sends; None for as long as it likes.
            several: Whether several requests are in it, and as many answers are to come.
        """
        self._loop = asyncio.get_running_loop()
        self.changed: Final = Sign(self._loop)
        """Set when `take` may return something else than before; whoever waits for it clears it."""
        self._request = request
        self._several = several
        self._queue = servers.queue
        """Who is still to be told how long the request waited to be begun."""
        self._listening = request.HasField("listen")
        self._sends = Sends(
            servers,
            session_id=request.session_id,
            routing_key=routing_key,
            timeout_seconds=timeout_seconds,
            counts=not self._listening,
        )
        self._reader: CallReader | None = None
        """The call of the moment; None while the request is about to be sent again."""
        self._resending: asyncio.Task[None] | None = None
        self._failed: Exception | None = None
        """Why it is not sent again."""
        self._ended = False
        """Whether nothing is sent again, because the answer is out or nobody waits for it."""
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
        if route is None:
            self._resending = self._loop.create_task(self._send_again(None))
        else:
            self._send(route)

    def take(self) -> Event | Nothing:
        """Return the next event, if it is there.

        Raises:
            SessionCallError: The call failed for good.
        """
        if self._failed is not None:
            raise self._failed
        if self._reader is None:
            return Nothing.MORE if self._ended else Nothing.YET
        try:
            taken = self._reader.take()
        except grpc.aio.AioRpcError as error:
            self._fails(error)
            return self.take()
        if isinstance(taken, Nothing):
            if taken is Nothing.MORE:
                self._ended = True
            return taken
        return self._note(taken)

    async def next(self) -> Event | None:
        """Return the next event, or None after the last.

        Cancelling it cancels the call.

        Raises:
            SessionCallError: The call failed for good.
        """
        while True:
            self.changed.clear()
            taken = self.take()
            if not isinstance(taken, Nothing):
                return taken
            if taken is Nothing.MORE:
                return None
            try:
                await self.changed.wait()
            except asyncio.CancelledError:
                self.cancel()
                raise

    async def taken(self, *, within_seconds: float) -> None:
        """Wait until a session server has taken the request, it has failed, or the time is over.

        An event that it has brought meanwhile is dropped.
        """
        try:
            async with asyncio.timeout(within_seconds):
                while True:
                    self.changed.clear()
                    if self.take() is not Nothing.YET:
                        return
                    if self._reader is not None and await _is_taken(self._reader):
                        return
                    await self.changed.wait()
        except (SessionCallError, TimeoutError):
            pass

    def cancel(self) -> None:
        """Say that nobody waits for the answer any more: it ends, if it has not."""
        if self._resending is not None:
            self._resending.cancel()
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None
        self._ended = True
        self.changed.set()

    def _send(self, route: Route) -> None:
        self._sent_at = self._loop.time()
        call = route.stub.HandleRequest(
            self._request,
            timeout=self._sends.timeout_seconds(),
            metadata=self._sends.metadata,
        )
        route.hold(call)
        self._heard = self._progressed = False
        # A call through a tunnel gives a sign once it is taken, others when there is an event only.
        if self._queue is not None and isinstance(call, TunnelUnaryStreamCall):
            self._reader = reader_of(call, self._change)
        else:
            self._reader = reader_of(call, self.changed.set)

    def _change(self) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            now = self._loop.time()
            queue.waited(now - self._sent_at, now)
        self.changed.set()

    def _fails(self, error: grpc.aio.AioRpcError) -> None:
        """Take that the call of the moment has failed: the request is sent again, or it is not."""
        lived_seconds = self._loop.time() - self._sent_at
        if self._progressed or (self._heard and lived_seconds >= _SETTLED_SECONDS):
            self._sends.attempts.succeeded()
        if self._ended or self._has_gap():
            self._failed = SessionCallError(read_failure(error), in_doubt=not self._listening)
            self._ended = True
            return
        self._reader = None
        self._resending = self._loop.create_task(self._send_again(error))

    async def _send_again(self, error: grpc.aio.AioRpcError | None) -> None:
        """Send the request when it is time to, unless it is not to be sent again."""
        try:
            if error is not None:
                await self._sends.after(error)
            route = await self._sends.route()
            self._request.unreachable_owner = self._sends.unreachable_owner
            if not self._listening:
                self._request.attempt.begun_before = self._sends.attempts.begun_before
                self._request.attempt.seen_event_id = self._seen_event_id
            elif self._seen_event_id:
                self._request.listen.last_event_id = self._seen_event_id
            self._resending = None
            self._send(route)
        except SessionCallError as failed:
            self._give_up(failed)
        except Exception as broken:  # noqa: BLE001 - whoever takes the answer is told
            self._ended, self._failed = True, broken
        finally:
            self.changed.set()

    def _give_up(self, failed: SessionCallError) -> None:
        self._ended = True
        unknown = failed.failure.reason == ErrorReason.ERROR_REASON_EVENT_UNKNOWN
        if self._listening and self._opened and unknown:
            return  # the client comes back by itself, and is told then
        failed.resumable = bool(self._seen_event_id)
        self._failed = failed

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


async def _is_taken(reader: CallReader) -> bool:
    """Wait until a call was taken or has failed; tells which."""
    call = reader.call
    try:
        await call.initial_metadata()
        return not call.done() or await call.code() is grpc.StatusCode.OK
    except grpc.aio.AioRpcError:
        return False
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return False  # it is the call that was cancelled, which gRPC tells in the same way
