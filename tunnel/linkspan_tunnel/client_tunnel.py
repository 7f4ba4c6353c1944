"""One open tunnel, seen from the client: begins calls, and hands them what comes for them.

Above lies `channel`, which opens tunnels; below lie `client_call`, `outbox`, `assembly` and
`writing`. Invariants: once `run` has returned, no call is on the tunnel; a call that failed as never
begun was never seen by a handler.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import DecodeError

from linkspan.tunnel.v1.tunnel_pb2 import ClientFrame, ServerFrame
from linkspan.tunnel.v1.tunnel_service_pb2 import OpenRequest, OpenResponse
from linkspan_tunnel import metadata
from linkspan_tunnel.assembly import Intake
from linkspan_tunnel.client_call import ClientCall
from linkspan_tunnel.errors import Breach, CallFailureError, TunnelBrokenError
from linkspan_tunnel.limits import TunnelLimits, read_settings
from linkspan_tunnel.outbox import Outbound
from linkspan_tunnel.writing import Writer

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
_UNKNOWN: Final = grpc.StatusCode.UNKNOWN
_DRAINING: Final = "the server is draining"
_END_SECONDS: Final = 1.0
"""How long the server may take to end a tunnel that the client has ended."""

STREAM_ERRORS: Final = (grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
"""What using a stream of gRPC's raises when it is broken."""


class Stream(Protocol):
    """A bidirectional stream of gRPC's, of bytes."""

    async def read(self) -> Any:
        """Return the next message, or EOF."""
        ...

    async def write(self, request: bytes) -> None:
        """Send a message."""
        ...

    async def done_writing(self) -> None:
        """Say that no message follows."""
        ...

    def cancel(self) -> bool:
        """End the stream."""
        ...


def _half_close(frame: ClientFrame | ServerFrame) -> None:
    if isinstance(frame, ClientFrame):
        frame.half_close = True


class ClientTunnel:
    """A tunnel that is open."""

    def __init__(
        self,
        stream: Stream,
        first: bytes,
        limits: TunnelLimits,
        on_over: Callable[["ClientTunnel", str], None],
    ) -> None:
        """Take over a stream that both sides have sent settings on.

        Args:
            stream: The stream.
            first: The first message of the server.
            limits: What this side keeps to.
            on_over: Called, with why, when the tunnel takes no more calls; those that have begun may
                go on.

        Raises:
            TunnelBrokenError: The server's first message breaks a rule.
        """
        self._stream = stream
        self._on_over = on_over
        self._writer = Writer(OpenRequest)
        self._outbox = self._writer.outbox
        self._intake = Intake(limits.assembly_bytes, self._grant)
        self._metadata_bytes = limits.max_metadata_bytes
        self._calls: dict[int, ClientCall] = {}
        self._last_id = 0
        self._draining = False
        self._over = False
        self._ended = False
        opening = _parse(first)
        if not opening.HasField("settings"):
            raise TunnelBrokenError(Breach.NO_SETTINGS)
        self._peer = read_settings(opening.settings, limits, server=True)
        opening.ClearField("settings")
        self._receive(opening)

    @property
    def over(self) -> bool:
        """Whether it takes no more calls."""
        return self._over

    async def run(self) -> None:
        """Carry calls until the tunnel ends.

        All calls that are still on it fail with UNAVAILABLE. Cancelling it ends the tunnel at once.
        """
        writing = asyncio.create_task(self._write())
        words = "it was closed"
        try:
            words = await self._read()
        finally:
            self._set_over(words)
            self._stream.cancel()
            writing.cancel()
            self._fail_all(words)
        await asyncio.wait([writing])

    def end(self) -> None:
        """Say that no more calls come; those that run are cancelled by the server."""
        if not self._ended:
            self._ended = True
            self._writer.end()

    def begin(self, call: ClientCall) -> None:
        """Begin a call, or fail it."""
        request = call.request
        peer = self._peer
        size = 0 if request is None else len(request)
        words = ""
        if len(self._calls) >= peer.calls:
            words = f"{peer.calls} calls run on the tunnel, and no more may"
        elif size > peer.message_bytes:
            words = f"Sent message larger than max ({size} vs. {peer.message_bytes})"
        elif call.metadata:
            metadata_bytes = metadata.size_bytes(call.metadata)
            size += metadata_bytes
            if metadata_bytes > peer.metadata_bytes:
                words = f"metadata are too large ({metadata_bytes} vs. {peer.metadata_bytes})"
        if words:
            call.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, words, not_begun=True)
            return
        self._last_id = call_id = self._last_id + 1
        self._calls[call_id] = call
        outbound = Outbound(call_id, peer.call_window_bytes)
        outbox = self._outbox
        if request is None:
            frame = outbox.room(size).frames.add(call_id=call_id, method=call.method)
        elif outbox.fits(outbound, len(request)):
            frame = outbox.room(size).frames.add(
                call_id=call_id, method=call.method, message=request, half_close=True
            )
        else:
            frame = outbox.room(0).frames.add(call_id=call_id, method=call.method)
            outbox.send_large(outbound, request, finish=_half_close)
        remaining = call.time_remaining()
        if remaining is not None:
            frame.timeout_micros = max(1, int(remaining * 1e6))
        if call.metadata:
            metadata.put(call.metadata, frame.metadata.add)
        call.begin(self, outbound, outbox.filling)

    # --- what calls ask for ---------------------------------------------------------------------

    def send(self, call: ClientCall, data: bytes) -> None:
        """Send a message of a call; while it is under way, it is the call's `outbound.large`."""
        outbound = call.outbound
        if outbound is None:
            return
        if len(data) > self._peer.message_bytes:
            self.cancel(call)
            words = f"Sent message larger than max ({len(data)} vs. {self._peer.message_bytes})"
            call.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, words)
        elif self._outbox.fits(outbound, len(data)):
            self._outbox.room(len(data)).frames.add(call_id=call.call_id, message=data)
        else:
            self._outbox.send_large(outbound, data, on_left=call.wake)

    def half_close(self, call: ClientCall) -> None:
        """Say that no message of a call follows."""
        self._outbox.room(0).frames.add(call_id=call.call_id, half_close=True)

    def cancel(self, call: ClientCall) -> None:
        """Let go of a call, if it has not ended for the server."""
        if self._drop(call):
            self._outbox.room(0).frames.add(call_id=call.call_id, cancel=True)

    def want(self, call: ClientCall) -> None:
        """Note that somebody waits for the next message of a call."""
        if call.call_id in self._calls:
            self._intake.want(call.call_id, call.inbound)

    def pop(self, call: ClientCall) -> bytes:
        """Return the next message of a call."""
        return self._intake.pop(call.call_id, call.inbound)

    # --- what comes -----------------------------------------------------------------------------

    async def _read(self) -> str:
        stream = self._stream
        try:
            while True:
                data = await stream.read()
                if not isinstance(data, bytes):
                    return "the server ended it"
                self._receive(_parse(data))
        except TunnelBrokenError as broken:
            return f"the server broke a rule: {broken}"
        except grpc.aio.AioRpcError as error:
            return error.details() or error.code().name
        except STREAM_ERRORS as error:
            return str(error)

    async def _write(self) -> None:
        try:
            await self._writer.run(self._stream.write)
            await self._stream.done_writing()
            await asyncio.sleep(_END_SECONDS)
            self._stream.cancel()
        except STREAM_ERRORS:
            pass  # reading fails as well, and says why

    def _receive(self, response: OpenResponse) -> None:
        if response.HasField("settings"):
            raise TunnelBrokenError(Breach.SECOND_SETTINGS)
        calls = self._calls
        for frame in response.frames:
            call_id = frame.call_id
            call = calls.get(call_id)
            if call is None:
                if call_id == 0:
                    raise TunnelBrokenError(Breach.RESERVED_ID)
                if call_id > self._last_id:
                    raise TunnelBrokenError(Breach.UNKNOWN_ID)
                continue
            try:
                self._take(call, frame)
            except CallFailureError as failure:
                self.cancel(call)
                call.fail(failure.fault.code, failure.detail)
        if response.HasField("draining"):
            self._drain(response.draining.last_call_id)
        if self._draining and not calls:
            self.end()

    def _take(self, call: ClientCall, frame: ServerFrame) -> None:
        if frame.headers:
            call.take_headers(metadata.read(frame.metadata, limit_bytes=self._metadata_bytes))
        data = frame.message
        if data or frame.HasField("message"):
            call.take_piece(data, frame.message_bytes_left)
        if frame.grant_bytes and call.outbound is not None:
            self._outbox.granted(call.outbound, frame.grant_bytes)
        if frame.HasField("status_code"):
            trailing = metadata.read(frame.trailing_metadata, limit_bytes=self._metadata_bytes)
            call.take_status(
                _CODES.get(frame.status_code, _UNKNOWN),
                frame.status_message,
                trailing,
                refused=frame.refused,
            )
            self._drop(call)

    def _drain(self, last_call_id: int) -> None:
        if self._draining:
            return
        self._draining = True
        self._set_over(_DRAINING)
        for call in [call for call in self._calls.values() if call.call_id > last_call_id]:
            self._drop(call)
            call.fail(grpc.StatusCode.UNAVAILABLE, _DRAINING, not_begun=True)

    def _set_over(self, words: str) -> None:
        if not self._over:
            self._over = True
            self._on_over(self, words)

    def _drop(self, call: ClientCall) -> bool:
        """Let go of a call; tell whether it was here."""
        if self._calls.pop(call.call_id, None) is None:
            return False
        if call.inbound.asked:
            self._intake.forget(call.call_id, call.inbound)
        if call.outbound is not None and call.outbound.large is not None:
            self._outbox.drop(call.outbound)
        if self._draining and not self._calls:
            self.end()
        return True

    def _fail_all(self, words: str) -> None:
        taken = self._outbox.taken
        calls = list(self._calls.values())
        self._calls.clear()
        for call in calls:
            call.fail(
                grpc.StatusCode.UNAVAILABLE,
                f"the tunnel broke: {words}",
                not_begun=call.batch > taken,
            )

    def _grant(self, call_id: int, size_bytes: int) -> None:
        if call_id in self._calls:
            self._outbox.room(0).frames.add(call_id=call_id, grant_bytes=size_bytes)


def _parse(data: bytes) -> OpenResponse:
    try:
        return OpenResponse.FromString(data)
    except DecodeError:
        raise TunnelBrokenError(Breach.NOT_A_MESSAGE) from None
