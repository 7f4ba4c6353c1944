"""What a stub returns: calls of all four kinds, as grpc.aio shows its own.

Above lies the application; below lies `client_call`. What they do at which moment is grpc.aio's
(https://grpc.github.io/grpc/python/grpc_asyncio.html#client-side-context), with these differences:
a request that cannot be serialised raises where it is handed over; `wait_for_connection` waits for a
tunnel, never for the answer; a response that cannot be parsed raises where it is read.
"""

import asyncio
import enum
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from typing import Any, Final

import grpc

from linkspan_tunnel.client_call import ClientCall

Requests = AsyncIterable[Any] | Iterable[Any]
Serializer = Callable[[Any], bytes]
Deserializer = Callable[[bytes], Any]

_FINISHED: Final = "RPC already finished."
_HALF_CLOSED: Final = 'RPC is half closed after calling "done_writing".'
_MIXED: Final = "The iterator and read/write APIs may not be mixed on a single RPC."


class _Style(enum.Enum):
    UNKNOWN = enum.auto()
    ITERATOR = enum.auto()
    READER_WRITER = enum.auto()


class _Call(grpc.aio.Call):
    """What all kinds have."""

    def __init__(self, call: ClientCall, deserialize: Deserializer | None) -> None:
        self._call = call
        self._deserialize = deserialize

    def cancelled(self) -> bool:
        return self._call.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._call.code is not None

    def cancel(self) -> bool:
        return self._call.cancel()

    def time_remaining(self) -> float | None:
        return self._call.time_remaining()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._call.add_done_callback(lambda: callback(self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        call = self._call
        while call.initial is None:
            await call.changed()
        return grpc.aio.Metadata.from_tuple(call.initial)

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        await self._ended()
        return grpc.aio.Metadata.from_tuple(self._call.trailing)

    async def code(self) -> grpc.StatusCode:
        return await self._ended()

    async def details(self) -> str:
        await self._ended()
        return self._call.details

    async def debug_error_string(self) -> str:
        return f"{(await self._ended()).name}:{self._call.details}"

    async def wait_for_connection(self) -> None:
        await self._call.begun()
        self._raise_if_failed()

    async def _ended(self) -> grpc.StatusCode:
        call = self._call
        while call.code is None:
            await call.changed()
        return call.code

    def _raise_if_failed(self) -> None:
        call = self._call
        if call.locally_cancelled:
            raise asyncio.CancelledError
        if call.code is not None and call.code is not grpc.StatusCode.OK:
            raise call.error()

    def _message(self, data: bytes) -> Any:
        return data if self._deserialize is None else self._deserialize(data)

    def __repr__(self) -> str:
        call = self._call
        if call.code is None:
            return f"<{type(self).__name__} of {call.method}>"
        return f"<{type(self).__name__} of {call.method}: {call.code.name} {call.details!r}>"


class _OneResponse(_Call):
    def __await__(self) -> Generator[Any, None, Any]:
        call = self._call
        try:
            while call.code is None:
                yield from call.changed()
        except asyncio.CancelledError:
            call.cancel()
            raise
        self._raise_if_failed()
        return self._message(call.inbound.messages[0])


class _Responses(_Call):
    def __init__(self, call: ClientCall, deserialize: Deserializer | None) -> None:
        super().__init__(call, deserialize)
        self._response_style = _Style.UNKNOWN

    def __del__(self) -> None:
        call = getattr(self, "_call", None)
        if isinstance(call, ClientCall):
            call.abandon()

    def __aiter__(self) -> AsyncIterator[Any]:
        self._use(_Style.ITERATOR)
        return _Iterator(self)

    async def read(self) -> Any:
        if self._call.code is None:
            self._use(_Style.READER_WRITER)
            data = await self._call.read()
            if data is not None:
                return self._message(data)
        self._raise_if_failed()
        return grpc.aio.EOF

    def watch(self, watcher: Callable[[], None]) -> None:
        """Have `watcher` called whenever `take` may return something else; it must not raise.

        gRPC's own calls have nothing like it. Whoever reads in this way needs no task to wait in.
        """
        self._call.watcher = watcher

    def take(self) -> Any:
        """Return the next response; None if there is none yet, and EOF after the last.

        Raises:
            AioRpcError: The call failed; told after the responses before that.
        """
        data = self._call.take()
        if data is not None:
            return self._message(data)
        if self._call.code is None:
            return None
        self._raise_if_failed()
        return grpc.aio.EOF

    async def next_message(self) -> Any:
        data = await self._call.read()
        if data is not None:
            return self._message(data)
        self._raise_if_failed()
        raise StopAsyncIteration

    def _use(self, style: _Style) -> None:
        if self._response_style is _Style.UNKNOWN:
            self._response_style = style
        elif self._response_style is not style:
            raise grpc.aio.UsageError(_MIXED)


class _Iterator:
    """Goes through the responses; several of one call share them."""

    def __init__(self, call: _Responses) -> None:
        self._call = call

    def __aiter__(self) -> "_Iterator":
        return self

    async def __anext__(self) -> Any:
        return await self._call.next_message()


class _Requests(_Call):
    """What the kinds have that stream requests."""

    def __init__(
        self,
        call: ClientCall,
        deserialize: Deserializer | None,
        serialize: Serializer | None,
        requests: Requests | None,
    ) -> None:
        super().__init__(call, deserialize)
        self._serialize = serialize
        self._half_closed = False
        self._consuming: asyncio.Task[None] | None = None
        if requests is not None:
            task = asyncio.get_running_loop().create_task(self._consume(requests))
            self._consuming = task
            # Not a method: what is called back must not keep alive a call that nobody holds.
            call.add_done_callback(lambda: _stop(task))

    async def write(self, request: Any) -> None:
        if self._consuming is not None:
            raise grpc.aio.UsageError(_MIXED)
        await self._write(request)

    async def done_writing(self) -> None:
        if self._consuming is not None:
            raise grpc.aio.UsageError(_MIXED)
        await self._done_writing()

    async def _write(self, request: Any) -> None:
        if self.done():
            raise asyncio.InvalidStateError(_FINISHED)
        if self._half_closed:
            raise asyncio.InvalidStateError(_HALF_CLOSED)
        data: bytes = request if self._serialize is None else self._serialize(request)
        await self._call.write(data)
        if self.done():
            self._raise_if_failed()

    async def _done_writing(self) -> None:
        if self._half_closed or self.done():
            return
        self._half_closed = True
        await self._call.begun()
        self._call.half_close()

    async def _consume(self, requests: Requests) -> None:
        """Send what an iterator gives; if it raises, the call is cancelled, as with grpc.aio."""
        try:
            if isinstance(requests, AsyncIterable):
                async for request in requests:
                    await self._write(request)
            else:
                for request in requests:
                    await self._write(request)
            await self._done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended, and says how
        except asyncio.CancelledError:
            self._call.cancel()
        except Exception:  # noqa: BLE001 - whatever the iterator raises
            self._call.cancel()


def _stop(task: "asyncio.Task[None]") -> None:
    if not task.done():
        task.cancel()


class TunnelUnaryUnaryCall(_OneResponse, grpc.aio.UnaryUnaryCall[Any, Any]):
    """One request, one response."""


class TunnelUnaryStreamCall(_Responses, grpc.aio.UnaryStreamCall[Any, Any]):
    """One request, any number of responses."""


class TunnelStreamUnaryCall(_Requests, _OneResponse, grpc.aio.StreamUnaryCall[Any, Any]):
    """Any number of requests, one response."""


class TunnelStreamStreamCall(_Requests, _Responses, grpc.aio.StreamStreamCall[Any, Any]):
    """Any number of requests, any number of responses."""
