"""The events of one call as they can be had without waiting, and a sign when there are more.

Above lies `calls`; below lies a call through a tunnel, which works like that by itself, or one of
grpc.aio, which knows only how to wait: a task waits in its place. Of that one event is read ahead,
no more, so that who does not take events slows their sender down.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

import grpc

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_tunnel import TunnelUnaryStreamCall

if TYPE_CHECKING:
    from linkspan.session.v1.session_service_pb2 import HandleRequestRequest

    Call: TypeAlias = "grpc.aio.UnaryStreamCall[HandleRequestRequest, HandleRequestResponse]"

Event: TypeAlias = HandleRequestResponse
"""One event of an answer, as the session service sends it."""


class Nothing(Enum):
    """Why there is no event."""

    YET = "yet"
    """There may be one later; the sign says when to look again."""
    MORE = "more"
    """The call has ended, and well."""


class CallReader(Protocol):
    """Reads one call, which nobody else reads."""

    @property
    def call(self) -> "Call":
        """The call."""
        ...

    def take(self) -> Event | Nothing:
        """Return the next event, if it is there.

        Raises:
            grpc.aio.AioRpcError: The call failed; told after the events before that.
        """
        ...

    def cancel(self) -> None:
        """End the call, unless it has ended."""
        ...


def reader_of(call: "Call", notify: Callable[[], None]) -> CallReader:
    """Begin to read a call.

    Args:
        call: The call.
        notify: The sign: called when `take` may return something else than before.
    """
    if isinstance(call, TunnelUnaryStreamCall):
        return TunnelReader(call, notify)
    return PlainReader(call, notify)


class TunnelReader:
    """Reads a call through a tunnel."""

    __slots__ = ("call",)

    def __init__(self, call: TunnelUnaryStreamCall, notify: Callable[[], None]) -> None:
        self.call = call
        call.watch(notify)

    def take(self) -> Event | Nothing:
        """See `CallReader.take`."""
        taken: object = self.call.take()
        if isinstance(taken, HandleRequestResponse):
            return taken
        return Nothing.YET if taken is None else Nothing.MORE

    def cancel(self) -> None:
        """See `CallReader.cancel`."""
        self.call.cancel()


class PlainReader:
    """Reads a call of grpc.aio."""

    __slots__ = ("_event", "_failure", "_notify", "_over", "_task", "_wanted", "call")

    def __init__(self, call: "Call", notify: Callable[[], None]) -> None:
        self.call = call
        self._notify = notify
        self._event: Event | None = None
        self._over = False
        self._failure: Exception | None = None
        self._wanted = asyncio.Event()
        self._task = asyncio.ensure_future(self._read())

    def take(self) -> Event | Nothing:
        """See `CallReader.take`."""
        event, self._event = self._event, None
        if event is not None:
            self._wanted.set()
            return event
        if self._failure is not None:
            raise self._failure
        return Nothing.MORE if self._over else Nothing.YET

    def cancel(self) -> None:
        """See `CallReader.cancel`."""
        self._task.cancel()
        self.call.cancel()

    async def _read(self) -> None:
        try:
            while isinstance(event := await self.call.read(), HandleRequestResponse):
                self._event = event
                self._wanted.clear()
                self._notify()
                await self._wanted.wait()
            self._over = True
        except Exception as error:  # noqa: BLE001 - whoever takes is told
            self._failure = error
        finally:
            self._notify()
