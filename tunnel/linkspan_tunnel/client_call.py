"""One call of a client: what is to be sent of it, what has come, and how it ended.

Above lie `stub_calls`, which show it to the application as gRPC would, and `client_tunnel`, which
carries it; below lie `inbound` and `outbox`. As in gRPC, a call ends for the application once all
its messages have been read, unless it fails before.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import grpc

from linkspan_tunnel.deadlines import MAX_TIMEOUT_SECONDS, Deadlines
from linkspan_tunnel.errors import CallFailureError, Fault, NotBegunError
from linkspan_tunnel.inbound import Inbound
from linkspan_tunnel.limits import TunnelLimits
from linkspan_tunnel.metadata import Entries
from linkspan_tunnel.outbox import Outbound

LOCALLY_CANCELLED: Final = "Locally cancelled by application!"
_COLLECTED: Final = "Cancelled upon garbage collection!"
_NO_ENTRIES: Final[Entries] = ()


class Carrier(Protocol):
    """The tunnel that a call is on."""

    def send(self, call: "ClientCall", data: bytes) -> None:
        """Send a message; while it is under way, it is the call's `outbound.large`."""
        ...

    def half_close(self, call: "ClientCall") -> None:
        """Say that no message follows."""
        ...

    def cancel(self, call: "ClientCall") -> None:
        """Let go of a call that has not ended for the server."""
        ...

    def want(self, call: "ClientCall") -> None:
        """Note that somebody waits for the next message."""
        ...

    def pop(self, call: "ClientCall") -> bytes:
        """Return the next message."""
        ...


class Home(Protocol):
    """The channel that a call was made on."""

    @property
    def deadlines(self) -> Deadlines:
        """What tells calls that their time is over."""
        ...

    def forget(self, call: "ClientCall") -> None:
        """Note that a call has ended."""
        ...


class ClientCall:
    """A call, from where it is made until its status is known."""

    __slots__ = (
        "_callbacks",
        "_ending",
        "_home",
        "_loop",
        "_reading",
        "_tick",
        "_waiters",
        "_wanted",
        "batch",
        "call_id",
        "carrier",
        "code",
        "deadline",
        "details",
        "inbound",
        "initial",
        "locally_cancelled",
        "metadata",
        "method",
        "not_begun",
        "outbound",
        "request",
        "streams_responses",
        "trailing",
        "wait_for_ready",
        "watcher",
    )

    def __init__(
        self,
        home: Home,
        loop: asyncio.AbstractEventLoop,
        limits: TunnelLimits,
        method: str,
        request: bytes | None,
        metadata: Entries,
        timeout: float | None,
        *,
        wait_for_ready: bool,
        streams_responses: bool,
    ) -> None:
        """Make a call; the channel begins it.

        Args:
            home: The channel.
            loop: The loop that it lives in.
            limits: What this side keeps to.
            method: The full method.
            request: The message, or None if messages are to be streamed.
            metadata: The call's initial metadata.
            timeout: How long it may take in seconds; None for as long as it likes.
            wait_for_ready: Whether it waits for a tunnel for as long as that takes.
            streams_responses: Whether any number of messages may come.
        """
        self._home = home
        self._loop = loop
        self.method = method
        self.request = request
        self.metadata = metadata
        self.wait_for_ready = wait_for_ready
        self.streams_responses = streams_responses
        self.inbound = Inbound(
            limits.call_window_bytes, limits.message_limit_bytes, single=not streams_responses
        )
        self.carrier: Carrier | None = None
        """The tunnel, once the call has begun."""
        self.call_id = 0
        self.batch = 0
        """Which message of the tunnel began it."""
        self.outbound: Outbound | None = None
        self.initial: Entries | None = None
        """The server's initial metadata, once they have come."""
        self.code: grpc.StatusCode | None = None
        """How it ended; None until then."""
        self.details = ""
        self.trailing = _NO_ENTRIES
        self.not_begun = False
        """Whether it ended without any handler having seen it."""
        self.locally_cancelled = False
        self.watcher: Callable[[], None] | None = None
        """Called whenever something about the call has changed; must not raise."""
        self._ending: tuple[grpc.StatusCode, str, Entries] | None = None
        self._reading = 0
        self._wanted = False
        self._waiters: list[asyncio.Future[None]] = []
        self._callbacks: list[Callable[[], None]] | None = None
        self.deadline: float | None = None
        self._tick = 0
        if timeout is not None:
            self.deadline = loop.time() + min(timeout, MAX_TIMEOUT_SECONDS)
            self._tick = home.deadlines.add(self.deadline, self)

    # --- the application's side -----------------------------------------------------------------

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once the call has ended; at once if it has."""
        if self.code is not None:
            callback()
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def time_remaining(self) -> float | None:
        """Return how long the call may take from now on, in seconds; None if that is not limited."""
        return None if self.deadline is None else max(0.0, self.deadline - self._loop.time())

    def cancel(self, details: str = LOCALLY_CANCELLED) -> bool:
        """End the call, on both sides; tell whether it had not ended before."""
        if self.code is not None:
            return False
        self.locally_cancelled = True
        self._leave(grpc.StatusCode.CANCELLED, details)
        return True

    def abandon(self) -> None:
        """End the call because nobody holds it any more; the loop may be gone as well."""
        if self.code is None and not self._loop.is_closed():
            self.cancel(_COLLECTED)

    def changed(self) -> asyncio.Future[None]:
        """Return what is done once something about the call has changed."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        return waiter

    async def read(self) -> bytes | None:
        """Return the next message, or None after the last; cancelling it cancels the call."""
        inbound = self.inbound
        while not inbound.messages:
            if self.code is not None:
                return None
            self._reading += 1
            try:
                if self.carrier is not None:
                    self.carrier.want(self)
                await self.changed()
            except asyncio.CancelledError:
                self.cancel()
                raise
            finally:
                self._reading -= 1
        return self._pop()

    def take(self) -> bytes | None:
        """Return the next message if it is there, and make sure that it comes if it is not."""
        if self.inbound.messages:
            self._wanted = False
            return self._pop()
        self._wanted = True
        if self.code is None and self.carrier is not None:
            self.carrier.want(self)
        return None

    def _pop(self) -> bytes:
        inbound = self.inbound
        data = inbound.messages[0] if self.carrier is None else self.carrier.pop(self)
        if self._ending is not None and not inbound.messages:
            self._complete(*self._ending)
        return data

    async def write(self, data: bytes) -> None:
        """Send a message, once the call has begun and its window allows; cancelling cancels the call.

        Returns when the message has left, or the call has ended.
        """
        try:
            await self._sent()
            if self.carrier is not None and self.code is None:
                self.carrier.send(self, data)
                await self._sent()
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _sent(self) -> None:
        """Wait until the call has begun and has no message under way, or has ended."""
        while self.code is None and (self.outbound is None or self.outbound.large is not None):
            await self.changed()

    async def begun(self) -> None:
        """Wait until the call is on a tunnel, or has ended."""
        while self.carrier is None and self.code is None:
            await self.changed()

    def half_close(self) -> None:
        """Say that no message follows; the call must have begun."""
        if self.carrier is not None and self.code is None:
            self.carrier.half_close(self)

    def error(self) -> grpc.aio.AioRpcError:
        """Return how the call failed, as an exception."""
        code = self.code or grpc.StatusCode.UNKNOWN
        kind = NotBegunError if self.not_begun else grpc.aio.AioRpcError
        return kind(
            code,
            grpc.aio.Metadata.from_tuple(self.initial or ()),
            grpc.aio.Metadata.from_tuple(self.trailing),
            details=self.details,
            debug_error_string=f"{code.name}:{self.details}",
        )

    # --- the tunnel's side ----------------------------------------------------------------------

    def begin(self, carrier: Carrier, outbound: Outbound, batch: int) -> None:
        """Note that the call is on a tunnel."""
        self.carrier = carrier
        self.outbound = outbound
        self.call_id = outbound.call_id
        self.batch = batch
        self.request = None
        if self._waiters:
            self.wake()

    def take_headers(self, entries: Entries) -> None:
        """Take the initial metadata.

        Raises:
            CallFailureError: They come too late.
        """
        if self.initial is not None:
            raise CallFailureError(Fault.LATE_HEADERS)
        self.initial = entries
        self.wake()

    def take_piece(self, data: bytes, left: int) -> None:
        """Take a message or a piece of one.

        Raises:
            CallFailureError: The server may not send this.
        """
        if self.initial is None:
            self.initial = _NO_ENTRIES
        inbound = self.inbound
        inbound.piece(data, left)
        if inbound.messages:
            if self.streams_responses:
                self.wake()
        elif (
            self._reading or self._wanted or not self.streams_responses
        ) and self.carrier is not None:
            self.carrier.want(self)

    def take_status(
        self, code: grpc.StatusCode, details: str, trailing: Entries, *, refused: bool
    ) -> None:
        """Take the status, which is told once all messages have been read.

        Raises:
            CallFailureError: It says OK, but the messages are not complete.
        """
        inbound = self.inbound
        if code is grpc.StatusCode.OK:
            inbound.close()
            if self.streams_responses and inbound.messages:
                self._ending = (code, details, trailing)
                return
        elif inbound.messages and self.streams_responses:
            self._ending = (code, details, trailing)
            return
        else:
            inbound.drop()
        self.not_begun = refused
        self._complete(code, details, trailing)

    def fail(self, code: grpc.StatusCode, details: str, *, not_begun: bool = False) -> None:
        """End the call, which is on no tunnel any more, unless its status has come."""
        if self.code is not None or self._ending is not None:
            return
        self.not_begun = not_begun
        self.inbound.drop()
        self._complete(code, details, _NO_ENTRIES)

    def expire(self) -> None:
        """End the call because its time is over."""
        if self.code is None and self._ending is None:
            self._leave(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    # --- both -----------------------------------------------------------------------------------

    def _leave(self, code: grpc.StatusCode, details: str) -> None:
        if self.carrier is not None:
            self.carrier.cancel(self)
        self.inbound.drop()
        self._complete(code, details, _NO_ENTRIES)

    def _complete(self, code: grpc.StatusCode, details: str, trailing: Entries) -> None:
        self.code = code
        self.details = details
        self.trailing = trailing
        if self.initial is None:
            self.initial = _NO_ENTRIES
        if self.deadline is not None:
            self._home.deadlines.remove(self._tick, self)
        self._home.forget(self)
        callbacks, self._callbacks = self._callbacks, None
        if callbacks is not None:
            for callback in callbacks:
                self._call_back(callback)
        self.wake()

    def _call_back(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - it is the application's, and others go on
            self._loop.call_exception_handler(
                {"message": "error in a done callback of an RPC", "exception": error}
            )

    def wake(self) -> None:
        """Have those look again who wait for something about the call to change."""
        if self.watcher is not None:
            self.watcher()
        waiters = self._waiters
        if not waiters:
            return
        self._waiters = []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
