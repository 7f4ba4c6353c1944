"""One call on a server: what has come of it, what is sent, and the context that its handler gets.

Above lie `handling`, which runs the handler, and `server_tunnel`, which carries the call; below lie
`inbound` and `outbox`. What the context does is grpc.aio's
(https://grpc.github.io/grpc/python/grpc_asyncio.html#server-side-context).
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, Protocol

import grpc

from linkspan.tunnel.v1.tunnel_pb2 import ClientFrame, ServerFrame
from linkspan_tunnel import metadata as checking
from linkspan_tunnel.errors import CallFailureError, Fault
from linkspan_tunnel.inbound import Inbound
from linkspan_tunnel.metadata import Entries
from linkspan_tunnel.outbox import Outbound

FINISHED: Final = "RPC already finished."
_ONE_AT_A_TIME: Final = "one read at a time"


class Peer(Protocol):
    """What is known of the client of a tunnel."""

    @property
    def name(self) -> str:
        """How gRPC names it."""
        ...

    @property
    def identities(self) -> Iterable[bytes] | None:
        """Who it proved to be."""
        ...

    @property
    def identity_key(self) -> str | None:
        """What it proved that by."""
        ...

    @property
    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """All that it proved."""
        ...


class Carrier(Protocol):
    """The tunnel that a call is on."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    def now(self) -> float:
        """Return the time of the loop."""
        ...

    def want(self, call: "ServerCall") -> None:
        """Note that the handler waits for the next message."""
        ...

    def pop(self, call: "ServerCall") -> bytes:
        """Return the next message."""
        ...

    def send(self, call: "ServerCall", data: bytes) -> "asyncio.Future[None] | None":
        """Send a message; return what is done once it has left, or None if it has."""
        ...

    def send_headers(self, call: "ServerCall", headers: Entries) -> None:
        """Send initial metadata."""
        ...

    def left(self, call: "ServerCall") -> None:
        """Note that the handler has ended."""
        ...

    def end(
        self,
        call: "ServerCall",
        code: int,
        details: str,
        trailing: Entries,
        data: bytes | None = None,
    ) -> None:
        """Send the status, behind a last message if there is one; the call is over."""
        ...


class ServerCall(grpc.aio.ServicerContext[Any, Any]):
    """A call, from its first frame until its handler has ended."""

    __slots__ = (
        "_abort_error",
        "_callbacks",
        "_carrier",
        "_code",
        "_deserialize",
        "_details",
        "_headers_sent",
        "_left",
        "_metadata",
        "_reader",
        "_serialize",
        "_trailing",
        "begun",
        "call_id",
        "deadline",
        "ended",
        "inbound",
        "last_batch",
        "last_frame",
        "lost",
        "method",
        "outbound",
        "task",
        "tick",
    )

    def __init__(
        self,
        carrier: Carrier,
        method: str,
        metadata: Entries,
        inbound: Inbound,
        outbound: Outbound,
    ) -> None:
        self._carrier = carrier
        self.method = method
        self._metadata = metadata
        self.inbound = inbound
        self.outbound = outbound
        self.call_id = outbound.call_id
        self.deadline: float | None = None
        self.tick = 0
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        """Whether the task has run."""
        self.ended = False
        """Whether the status is sent, or the client has gone."""
        self.lost = False
        """Whether the client has cancelled the call, its deadline is over, or its tunnel broke."""
        self.last_frame: ServerFrame | None = None
        """The call's last frame; what follows joins it for as long as it has not left."""
        self.last_batch = 0
        self._reader: asyncio.Future[None] | None = None
        self._left: asyncio.Future[None] | None = None
        self._deserialize: Callable[[bytes], Any] | None = None
        self._serialize: Callable[[Any], bytes] | None = None
        self._headers_sent = False
        self._abort_error: grpc.aio.AbortError | None = None
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: Entries = ()
        self._callbacks: list[Callable[[Any], None]] | None = None

    # --- the tunnel's side ----------------------------------------------------------------------

    def take_piece(self, frame: ClientFrame, data: bytes) -> None:
        """Take a message or a piece of one.

        Raises:
            CallFailureError: The client may not send this.
        """
        inbound = self.inbound
        inbound.piece(data, frame.message_bytes_left)
        if inbound.messages:
            self._wake_reader()
        elif inbound.single or self._reader is not None:
            self._carrier.want(self)

    def take_half_close(self) -> None:
        """Note that no message follows.

        Raises:
            CallFailureError: The messages are not complete.
        """
        self.inbound.close()
        self._wake_reader()

    def lose(self) -> None:
        """Cancel the handler: nobody waits for its answer any more."""
        self.ended = True
        self.lost = True
        self.inbound.drop()
        task = self.task
        if task is not None and self.begun and not task.done():
            task.cancel()
        self._wake_reader()
        left = self._left
        if left is not None and not left.done():
            left.set_result(None)

    def expire(self) -> None:
        """End the call because its time is over."""
        if not self.ended:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            self._carrier.end(self, code.value[0], "Deadline Exceeded", ())
            self.lose()

    # --- the side of whoever runs the handler -----------------------------------------------------

    def prepare(
        self,
        deserialize: Callable[[bytes], Any] | None,
        serialize: Callable[[Any], bytes] | None,
    ) -> None:
        """Note how messages are read and written."""
        self._deserialize = deserialize
        self._serialize = serialize

    async def next_data(self) -> bytes | None:
        """Return the next message as bytes, or None after the last."""
        inbound = self.inbound
        while not inbound.messages:
            if inbound.closed:
                return None
            self._raise_if_over()
            if self._reader is not None:
                raise grpc.aio.UsageError(_ONE_AT_A_TIME)
            self._reader = asyncio.get_running_loop().create_future()
            try:
                self._carrier.want(self)
                await self._reader
            finally:
                self._reader = None
        return self._carrier.pop(self)

    async def only_data(self) -> bytes:
        """Return the only message as bytes.

        Raises:
            CallFailureError: There is none, or more than one.
        """
        self.inbound.single = True
        data = self._carrier.pop(self) if self.inbound.messages else await self.next_data()
        if data is None:
            raise CallFailureError(Fault.NO_MESSAGE)
        self.inbound.close_behind()
        return data

    def finish(self, response: Any = None, *, has_response: bool = False) -> None:
        """Send what the handler returned, or did, and the status that it set.

        Raises:
            AbortError: The handler has aborted the call, and went on.
            UsageError: The call is over for another reason.
        """
        if self._abort_error is not None:
            raise self._abort_error
        if self.ended:
            return
        code = 0 if self._code is None else self._code.value[0]
        data: bytes | None = None
        if has_response and code == 0:
            data = self._data(response)
        self._carrier.end(self, code, self._details, self._trailing, data)
        self.ended = True

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """End the call for the handler, which cannot, unless it is over."""
        if not self.ended:
            self._carrier.end(self, code.value[0], details, self._trailing)
            self.ended = True

    def leave(self) -> None:
        """Tell the tunnel that the handler has ended, as the last thing that its task does."""
        self._carrier.left(self)

    def call_back(self) -> None:
        """Tell those who wanted to know that the handler has ended."""
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback(self)

    # --- the handler's side -----------------------------------------------------------------------

    async def read(self) -> Any:
        """Return the next request, or EOF after the last."""
        self._raise_if_over()
        data = await self.next_data()
        if data is None:
            return grpc.aio.EOF
        return data if self._deserialize is None else self._deserialize(data)

    async def write(self, message: Any) -> None:
        """Send a response; returns when it has left, which a slow client can make late."""
        self._raise_if_over()
        if self._left is not None:
            raise grpc.aio.UsageError("one write at a time")
        self._headers_sent = True
        self._left = self._carrier.send(self, self._data(message))
        if self._left is not None:
            try:
                await self._left
            finally:
                self._left = None
            if self.lost:
                raise grpc.aio.UsageError(FINISHED)

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send initial metadata, before any response."""
        self._raise_if_over()
        if self._headers_sent:
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")
        headers = checking.checked(initial_metadata)
        self._headers_sent = True
        self._carrier.send_headers(self, headers)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()
    ) -> NoReturn:
        """End the call with a status other than OK, and raise AbortError."""
        if self._abort_error is not None:
            raise grpc.aio.UsageError("Abort already called!")
        if code is grpc.StatusCode.OK:
            raise ValueError("a call cannot be aborted with OK")
        if trailing_metadata:
            self._trailing = checking.checked(trailing_metadata)
        self._details = details or self._details
        self._code = code
        self._abort_error = grpc.aio.AbortError("Locally aborted.")
        self.fail(code, self._details)
        raise self._abort_error

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """End the call with a status other than OK, and raise AbortError."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Keep trailing metadata for the status."""
        self._trailing = checking.checked(trailing_metadata)

    def trailing_metadata(self) -> Any:
        """Return what goes with the status."""
        return self._trailing

    def invocation_metadata(self) -> Any:
        """Return the client's metadata."""
        return self._metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        """Keep a code for the status."""
        self._code = code

    def code(self) -> Any:
        """Return the code that was set, or None."""
        return self._code

    def set_details(self, details: str) -> None:
        """Keep a message for the status."""
        self._details = details

    def details(self) -> str:
        """Return the status's message."""
        return self._details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Do nothing: compression is the tunnel's."""

    def disable_next_message_compression(self) -> None:
        """Do nothing: compression is the tunnel's."""

    def peer(self) -> str:
        """Return gRPC's name of the tunnel's client."""
        return self._carrier.peer.name

    def peer_identities(self) -> Iterable[bytes] | None:
        """Return who the tunnel's client proved to be."""
        return self._carrier.peer.identities

    def peer_identity_key(self) -> str | None:
        """Return what the tunnel's client proved that by."""
        return self._carrier.peer.identity_key

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return all that the tunnel's client proved."""
        return self._carrier.peer.auth_context

    def time_remaining(self) -> Any:
        """Return how long the client waits from now on, in seconds, or None for as long as it takes."""
        return None if self.deadline is None else max(0.0, self.deadline - self._carrier.now())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have `callback` called with this context once the handler has ended."""
        if self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def done(self) -> bool:
        """Return whether the status is sent, or nobody waits for it any more."""
        return self.ended

    def cancelled(self) -> bool:
        """Return whether nobody waits for the answer, or CANCELLED was set."""
        return self.lost or self._code is grpc.StatusCode.CANCELLED

    # --- all --------------------------------------------------------------------------------------

    def _data(self, message: Any) -> bytes:
        data: Any = message if self._serialize is None else self._serialize(message)
        if not isinstance(data, bytes):
            raise TypeError(f"a response of {self.method} is {type(data)}, not bytes")
        return data

    def _raise_if_over(self) -> None:
        if self._abort_error is not None:
            raise self._abort_error
        if self.ended:
            raise grpc.aio.UsageError(FINISHED)

    def _wake_reader(self) -> None:
        reader = self._reader
        if reader is not None and not reader.done():
            reader.set_result(None)
