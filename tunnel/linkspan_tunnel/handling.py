"""Runs the handler of one call, and turns how it ends into a status, as grpc.aio does.

Above lies `server_tunnel`; below lie `server_call` and the application's handlers. Invariants: no
exception leaves `handle` but those that end the process; whatever a handler does, its call ends.
"""

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import grpc

from linkspan_tunnel.errors import CallFailureError
from linkspan_tunnel.metadata import Entries
from linkspan_tunnel.server_call import ServerCall

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
GenericHandler: TypeAlias = grpc.GenericRpcHandler

_LOGGER: Final = logging.getLogger(__name__)
_SYNC: Final = "this method is not async, and tunnels run async methods only"


class TunnelCallDetails(grpc.HandlerCallDetails):
    """What interceptors and generic handlers are told of a call."""

    __slots__ = ("invocation_metadata", "method")

    def __init__(self, method: str, invocation_metadata: Entries) -> None:
        self.method = method
        self.invocation_metadata = invocation_metadata


class Handlers:
    """All handlers of a server, and the interceptors before them."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        self.interceptors = tuple(interceptors)
        self._registered: dict[str, Handler] = {}
        self._generic: list[GenericHandler] = []

    def add_generic(self, handlers: Sequence[GenericHandler]) -> None:
        """Add handlers that say themselves what they handle; earlier ones are asked first."""
        self._generic.extend(handlers)

    def add_registered(self, service_name: str, handlers: dict[str, Handler]) -> None:
        """Add the handlers of a service by the names of their methods; they go before generic ones."""
        for name, handler in handlers.items():
            self._registered[f"/{service_name}/{name}"] = handler

    def find(self, details: grpc.HandlerCallDetails) -> "Handler | None":
        """Return what handles a call, or None."""
        handler = self._registered.get(details.method)
        if handler is not None:
            return handler
        for generic in self._generic:
            handler = generic.service(details)
            if handler is not None:
                return handler
        return None

    async def find_through(
        self, details: grpc.HandlerCallDetails, index: int = 0
    ) -> "Handler | None":
        """Return what handles a call, after all interceptors had their say."""
        if index == len(self.interceptors):
            return self.find(details)

        async def go_on(details: grpc.HandlerCallDetails) -> Any:
            return await self.find_through(details, index + 1)

        return await self.interceptors[index].intercept_service(go_on, details)


async def handle(call: ServerCall, handlers: Handlers) -> None:
    """Run a call from its first frame to its status."""
    call.begun = True
    try:
        if call.lost:
            return
        await _run(call, handlers)
    except asyncio.CancelledError:
        call.fail(grpc.StatusCode.CANCELLED, "the handler was cancelled")
    except CallFailureError as failure:
        call.fail(failure.fault.code, failure.detail)
    except grpc.aio.AbortError as error:
        if not call.ended:
            _failed(call, error)
    except Exception as error:  # noqa: BLE001 - it is the application's, and becomes a status
        _failed(call, error)
    finally:
        try:
            call.call_back()
        except Exception:
            _LOGGER.exception("Error in a done callback of method [%s]", call.method)
        call.leave()


def _failed(call: ServerCall, error: Exception) -> None:
    if call.lost and isinstance(error, grpc.aio.UsageError):
        return  # the handler tried to go on with a call that nobody waits for
    _LOGGER.error(
        "Unexpected [%s] raised by servicer method [%s]",
        type(error).__name__,
        call.method,
        exc_info=error,
    )
    code = call.code()
    if code is None or code is grpc.StatusCode.OK:
        code = grpc.StatusCode.UNKNOWN
    call.fail(code, f"Unexpected {type(error)}: {error}")


async def _run(call: ServerCall, handlers: Handlers) -> None:
    details = TunnelCallDetails(call.method, call.invocation_metadata())
    if handlers.interceptors:
        handler = await handlers.find_through(details)
    else:
        handler = handlers.find(details)
    if handler is None:
        call.fail(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        return
    deserialize = handler.request_deserializer
    call.prepare(deserialize, handler.response_serializer)
    if handler.request_streaming:
        request: Any = _Requests(call)
    else:
        data = await call.only_data()
        request = data if deserialize is None else deserialize(data)
    if handler.response_streaming:
        method = handler.stream_stream if handler.request_streaming else handler.unary_stream
        await _stream(call, method, request)
    else:
        method = handler.stream_unary if handler.request_streaming else handler.unary_unary
        await _answer(call, method, request)


async def _answer(call: ServerCall, method: Any, request: Any) -> None:
    if not _has_flag(method, inspect.CO_COROUTINE, inspect.iscoroutinefunction):
        call.fail(grpc.StatusCode.UNIMPLEMENTED, _SYNC)
        return
    run: Callable[[Any, Any], Awaitable[Any]] = method
    call.finish(await run(request, call), has_response=True)


async def _stream(call: ServerCall, method: Any, request: Any) -> None:
    if _has_flag(method, inspect.CO_ASYNC_GENERATOR, inspect.isasyncgenfunction):
        responses: AsyncGenerator[Any, None] = method(request, call)
        write = call.write
        try:
            async for response in responses:
                await write(response)
        except BaseException:
            await responses.aclose()
            raise
    elif _has_flag(method, inspect.CO_COROUTINE, inspect.iscoroutinefunction):
        await method(request, call)
    else:
        call.fail(grpc.StatusCode.UNIMPLEMENTED, _SYNC)
        return
    call.finish()


def _has_flag(method: Any, flag: int, ask: Callable[[Any], bool]) -> bool:
    """Tell what kind of function this is; `ask` knows it of any callable, and takes longer."""
    code = getattr(method, "__code__", None)
    return bool(code.co_flags & flag) if code is not None else ask(method)


class _Requests:
    """The requests of a call, for a handler to go through."""

    def __init__(self, call: ServerCall) -> None:
        self._call = call

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        request = await self._call.read()
        if request is grpc.aio.EOF:
            raise StopAsyncIteration
        return request
