"""One open tunnel, seen from the server: begins calls, and hands them what comes for them.

Above lies `server`; below lie `handling`, `server_call`, `outbox`, `assembly` and `writing`.
Invariants: every handler runs in a task of its own, with a context of its own, and the tunnel does
not end before all of them have; nothing that a client sends makes it hold more than its limits say.
"""

import asyncio
from collections.abc import Iterable, Mapping
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from linkspan.tunnel.v1.tunnel_pb2 import ClientFrame, Draining, ServerFrame
from linkspan.tunnel.v1.tunnel_service_pb2 import OpenRequest, OpenResponse
from linkspan_tunnel import metadata
from linkspan_tunnel.assembly import Intake
from linkspan_tunnel.deadlines import MAX_TIMEOUT_SECONDS, Deadlines
from linkspan_tunnel.errors import Breach, CallFailureError, TunnelBrokenError
from linkspan_tunnel.handling import Handlers, handle
from linkspan_tunnel.inbound import Inbound
from linkspan_tunnel.limits import PeerLimits, TunnelLimits, read_settings
from linkspan_tunnel.metadata import Entries
from linkspan_tunnel.outbox import Outbound
from linkspan_tunnel.server_call import ServerCall
from linkspan_tunnel.writing import Writer

_LAST_WRITE_SECONDS: Final = 1.0
"""How long the last message may take to leave."""

_EXHAUSTED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]


@dataclass(frozen=True, slots=True)
class Client:
    """What gRPC knows of the client of a tunnel."""

    name: str
    identities: Iterable[bytes] | None
    identity_key: str | None
    auth_context: Mapping[str, Iterable[bytes]]
    user_agent: Entries


class ServerTunnel:
    """A tunnel that is open."""

    def __init__(
        self, handlers: Handlers, limits: TunnelLimits, client: Client, context: Context
    ) -> None:
        """Begin.

        Args:
            handlers: Who handles calls.
            limits: What this side keeps to.
            client: Who is at the other end.
            context: What handlers begin with, each with a copy.
        """
        self._handlers = handlers
        self._limits = limits
        self._client = client
        self._context = context
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._deadlines = Deadlines(self._loop)
        self._writer = Writer(OpenResponse)
        self._outbox = self._writer.outbox
        self._intake = Intake(limits.assembly_bytes, self._grant)
        self._peer: PeerLimits | None = None
        self._calls: dict[int, ServerCall] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_id = 0
        self._draining = False

    @property
    def peer(self) -> Client:
        """Who is at the other end."""
        return self._client

    async def run(self, stream: Any) -> None:
        """Carry calls until the client ends the tunnel, or breaks a rule, or all is drained.

        Cancelling it ends the tunnel. Handlers that still run are cancelled and waited for.

        Args:
            stream: The context of the RPC that is the tunnel.

        Raises:
            TunnelBrokenError: The client has broken a rule.
        """
        self._outbox.room(0).settings.CopyFrom(self._limits.settings(server=True))
        reading = asyncio.create_task(self._read(stream))
        writing = asyncio.create_task(self._writer.run(stream.write))
        try:
            await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
            self._lose_all()
            # gRPC takes no status while a message is being written, even if that was cancelled.
            self._writer.end()
            await asyncio.wait([writing], timeout=_LAST_WRITE_SECONDS)
        finally:
            reading.cancel()
            writing.cancel()
            self._lose_all()
            self._deadlines.close()
            await asyncio.wait([reading, writing, *self._tasks])
        errors = [task.exception() for task in (reading, writing) if not task.cancelled()]
        for error in errors:
            # Any other says that the stream is broken, and nobody is left to be told.
            if isinstance(error, TunnelBrokenError):
                raise error

    def drain(self) -> None:
        """Begin no more calls, and end the tunnel once none runs any more."""
        if self._draining:
            return
        self._draining = True
        self._outbox.room(0).draining.CopyFrom(Draining(last_call_id=self._last_id))
        self._end_if_drained()

    def _lose_all(self) -> None:
        calls = list(self._calls.values())
        self._calls.clear()
        for call in calls:
            call.lose()

    # --- what calls ask for -----------------------------------------------------------------------

    def want(self, call: ServerCall) -> None:
        """Note that a handler waits for the next message of its call."""
        self._intake.want(call.call_id, call.inbound)

    def pop(self, call: ServerCall) -> bytes:
        """Return the next message of a call."""
        return self._intake.pop(call.call_id, call.inbound)

    def send_headers(self, call: ServerCall, headers: Entries) -> None:
        """Send a call's initial metadata, with its first message if that comes very soon."""
        outbox = self._outbox
        frames = outbox.room(metadata.size_bytes(headers), can_wait=True).frames
        call.last_frame = frame = frames.add(call_id=call.call_id, headers=True)
        call.last_batch = outbox.filling
        if headers:
            metadata.put(headers, frame.metadata.add)

    def send(self, call: ServerCall, data: bytes) -> "asyncio.Future[None] | None":
        """Send a message of a call; return what is done once it has left, or None if it has."""
        if not self._may_send(call, data):
            return None
        outbox = self._outbox
        if outbox.fits(call.outbound, len(data)):
            frame = call.last_frame  # that of its headers can take a message, too
            if (
                frame is not None
                and not frame.HasField("message")
                and outbox.joins(call.last_batch, len(data))
            ):
                frame.message = data
                return None
            frames = outbox.room(len(data)).frames
            call.last_frame = frames.add(call_id=call.call_id, message=data)
            call.last_batch = outbox.filling
            return None
        left = self._loop.create_future()
        outbox.send_large(call.outbound, data, on_left=partial(_resolve, left))
        call.last_frame = None
        return left

    def left(self, call: ServerCall) -> None:
        """Note that the handler of a call has ended."""
        if call.task is not None:
            self._tasks.discard(call.task)
        self._end_if_drained()

    def end(
        self,
        call: ServerCall,
        code: int,
        details: str,
        trailing: Entries,
        data: bytes | None = None,
    ) -> None:
        """Send the status of a call, behind a last message if there is one; the call is over."""
        if data is not None and not self._may_send(call, data):
            return
        self._let_go(call)
        outbox = self._outbox
        outbound = call.outbound
        limit = self._peer.metadata_bytes if self._peer is not None else 0
        size = metadata.size_bytes(trailing)
        if size > limit:
            code, details = _EXHAUSTED, f"trailing metadata are too large ({size} vs. {limit})"
            trailing, data = (), None
        frame: ServerFrame | None = None
        if data is None:
            outbox.drop(outbound)
            if call.last_frame is not None and outbox.joins(call.last_batch, size + len(details)):
                frame = call.last_frame
            else:
                frame = outbox.room(size + len(details)).frames.add(call_id=call.call_id)
        elif outbox.fits(outbound, len(data)):
            frames = outbox.room(size + len(data)).frames
            frame = frames.add(call_id=call.call_id, message=data)
        else:

            def finish(frame: ClientFrame | ServerFrame) -> None:
                if isinstance(frame, ServerFrame):
                    _put_status(frame, code, details, trailing)

            self._calls[call.call_id] = call  # for grants, until all has left
            outbox.send_large(outbound, data, finish=finish, on_left=lambda: self._forget(call))
        if frame is not None:
            _put_status(frame, code, details, trailing)
        call.last_frame = None

    # --- what comes -------------------------------------------------------------------------------

    async def _read(self, stream: Any) -> None:
        while True:
            data = await stream.read()
            if not isinstance(data, bytes):
                return
            try:
                request = OpenRequest.FromString(data)
            except DecodeError:
                raise TunnelBrokenError(Breach.NOT_A_MESSAGE) from None
            self._receive(request)

    def _receive(self, request: OpenRequest) -> None:
        if self._peer is None:
            if not request.HasField("settings"):
                raise TunnelBrokenError(Breach.NO_SETTINGS)
            self._peer = read_settings(request.settings, self._limits, server=False)
        elif request.HasField("settings"):
            raise TunnelBrokenError(Breach.SECOND_SETTINGS)
        calls = self._calls
        for frame in request.frames:
            call_id = frame.call_id
            call = calls.get(call_id)
            if call is not None and not frame.method:
                self._take(call, frame)
            elif call_id == 0:
                raise TunnelBrokenError(Breach.RESERVED_ID)
            elif frame.method:
                if call_id <= self._last_id:
                    raise TunnelBrokenError(Breach.USED_ID)
                if not self._draining:
                    self._last_id = call_id
                    self._begin(frame, call_id, self._peer)
            elif call_id > self._last_id and not self._draining:
                raise TunnelBrokenError(Breach.UNKNOWN_ID)

    def _begin(self, frame: ClientFrame, call_id: int, peer: PeerLimits) -> None:
        limits = self._limits
        try:
            if len(self._tasks) >= limits.max_calls:
                self._refuse(call_id, _EXHAUSTED, "too many calls run on the tunnel")
                return
            entries = metadata.read(frame.metadata, limit_bytes=limits.max_metadata_bytes)
        except CallFailureError as failure:
            self._refuse(call_id, failure.fault.code.value[0], failure.detail)
            return
        call = ServerCall(
            self,
            frame.method,
            self._client.user_agent + entries,
            Inbound(limits.call_window_bytes, limits.message_limit_bytes, single=False),
            Outbound(call_id, peer.call_window_bytes),
        )
        self._calls[call_id] = call
        self._take(call, frame)
        if call.ended:
            return
        if frame.timeout_micros:
            timeout_seconds = min(frame.timeout_micros / 1e6, MAX_TIMEOUT_SECONDS)
            call.deadline = self._loop.time() + timeout_seconds
            call.tick = self._deadlines.add(call.deadline, call)
        call.task = task = self._loop.create_task(
            handle(call, self._handlers), context=self._context.copy()
        )
        self._tasks.add(task)

    def _take(self, call: ServerCall, frame: ClientFrame) -> None:
        try:
            data = frame.message
            if call.ended:
                pass  # the last of its answer is leaving, and nobody takes requests any more
            elif data or frame.HasField("message"):
                call.take_piece(frame, data)
            if frame.half_close and not call.ended:
                call.take_half_close()
            if frame.grant_bytes:
                self._outbox.granted(call.outbound, frame.grant_bytes)
        except CallFailureError as failure:
            self.end(call, failure.fault.code.value[0], failure.detail, ())
            self._drop(call)
        if frame.cancel:
            self._drop(call)

    def _drop(self, call: ServerCall) -> None:
        """Let go of a call that the client takes nothing more of."""
        self._outbox.drop(call.outbound)
        self._let_go(call)
        self._forget(call)
        call.lose()

    def _let_go(self, call: ServerCall) -> None:
        """Forget a call, but for those frames of it that are to leave."""
        self._calls.pop(call.call_id, None)
        if call.deadline is not None:
            self._deadlines.remove(call.tick, call)
        if call.inbound.asked:
            self._intake.forget(call.call_id, call.inbound)

    def _forget(self, call: ServerCall) -> None:
        """Forget a call of which all has left."""
        self._calls.pop(call.call_id, None)
        self._end_if_drained()

    def _refuse(self, call_id: int, code: int, details: str) -> None:
        self._outbox.room(len(details)).frames.add(
            call_id=call_id, status_code=code, status_message=details, refused=True
        )

    def _may_send(self, call: ServerCall, data: bytes) -> bool:
        """Tell whether a message may leave; if not, the call ends with RESOURCE_EXHAUSTED."""
        limit = self._peer.message_bytes if self._peer is not None else 0
        if len(data) <= limit:
            return True
        self.end(call, _EXHAUSTED, f"Sent message larger than max ({len(data)} vs. {limit})", ())
        call.ended = call.lost = True
        return False

    def _end_if_drained(self) -> None:
        if self._draining and not self._tasks and not self._calls:
            self._writer.end()

    def _grant(self, call_id: int, size_bytes: int) -> None:
        if call_id in self._calls:
            self._outbox.room(0).frames.add(call_id=call_id, grant_bytes=size_bytes)


def _resolve(left: "asyncio.Future[None]") -> None:
    if not left.done():
        left.set_result(None)


def _put_status(frame: ServerFrame, code: int, details: str, trailing: Entries) -> None:
    frame.status_code = code
    if details:
        frame.status_message = details
    if trailing:
        metadata.put(trailing, frame.trailing_metadata.add)
