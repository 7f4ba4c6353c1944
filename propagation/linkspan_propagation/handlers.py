"""A servicer's method, watched: the same kind of callable, and somebody hears how it goes.

gRPC tells by the kind of callable (coroutine function, async generator function, anything else) how
to run a handler, so each kind is wrapped by its own. The servicer's context is handed on as it is,
never behind a proxy. Above lies ``server``; below lies gRPC.

Invariants:
- without an observer nothing is wrapped but sync methods, which run in a thread pool, where no
  context would reach them;
- exceptions pass unchanged; a response passes the instant it comes;
- an async generator that gRPC abandons is closed where gRPC would have closed it.
"""

import asyncio
import contextvars
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Protocol, TypeAlias

import grpc

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Method: TypeAlias = Callable[[Any, Any], Any]


class Observer(Protocol):
    """Hears what becomes of one RPC. None of these may raise."""

    def called(self, servicer_context: Any, *, in_loop: bool) -> None:
        """The method is about to run; ``in_loop`` is false where this is a thread of the pool."""

    def returned(self) -> None:
        """The method returned, or its responses came to their end."""

    def failed(self, error: BaseException) -> None:
        """This came out of the method, or out of reading or writing a message."""


def watched(handler: Handler, observer: Observer | None) -> Handler:
    """Return a handler that does what ``handler`` does, in the current context.

    Call it in the RPC's own task, with the context set that sync methods are to see; methods that
    run in the task see it anyway.
    """
    return Watch(handler).by(observer)


class Watch:
    """A handler that can be watched; keep it for the next RPC, since looking into one takes long."""

    __slots__ = (
        "_factory",
        "_is_async_generator",
        "_is_coroutine",
        "_method",
        "handler",
    )

    def __init__(self, handler: Handler) -> None:
        """Look into a handler."""
        requests = "stream" if handler.request_streaming else "unary"
        responses = "stream" if handler.response_streaming else "unary"
        name = f"{requests}_{responses}"
        self.handler = handler
        self._method: Method | None = getattr(handler, name)
        self._is_coroutine = inspect.iscoroutinefunction(self._method)
        self._is_async_generator = inspect.isasyncgenfunction(self._method)
        self._factory: Callable[..., Handler] = getattr(grpc, f"{name}_rpc_method_handler")

    def by(self, observer: Observer | None) -> Handler:
        """Return the handler for one RPC, watched; see ``watched``."""
        handler, method = self.handler, self._method
        runs_in_loop = self._is_coroutine or self._is_async_generator
        if method is None or (observer is None and runs_in_loop):
            return handler
        return self._factory(
            self._watched_method(method, observer),
            request_deserializer=_message(handler.request_deserializer, observer),
            response_serializer=_message(handler.response_serializer, observer),
        )

    def _watched_method(self, method: Method, observer: Observer | None) -> Method:
        streams_requests = self.handler.request_streaming
        streams_responses = self.handler.response_streaming
        if observer is not None and self._is_coroutine:
            return _coroutine(method, observer, streams_requests=streams_requests)
        if observer is not None and self._is_async_generator:
            if not streams_responses:  # an error, and gRPC is the one to say so
                return method
            return _async_generator(method, observer, streams_requests=streams_requests)
        context = contextvars.copy_context()
        if streams_responses:
            return _generator(method, observer, context)
        return _function(method, observer, context)


async def _let_cancellation_come() -> None:
    """Let the loop run once, for a cancellation that may be on its way.

    Where a client cuts its stream of requests, gRPC tells the method that the stream has come to
    its end, and cancels the task right afterwards, but not once the method has returned: the RPC
    then looks like one that went well. This catches nine in ten of them, and costs the others a
    turn.
    """
    await asyncio.sleep(0)


def _coroutine(method: Method, observer: Observer, *, streams_requests: bool) -> Method:
    """Watch a coroutine function: one response, or ``context.write()`` for many."""

    async def call(request: Any, servicer_context: Any) -> Any:
        observer.called(servicer_context, in_loop=True)
        try:
            response = await method(request, servicer_context)
            if streams_requests:
                await _let_cancellation_come()
        except BaseException as error:
            observer.failed(error)
            raise
        observer.returned()
        return response

    return call


def _async_generator(method: Method, observer: Observer, *, streams_requests: bool) -> Method:
    async def call(request: Any, servicer_context: Any) -> AsyncGenerator[Any, None]:
        observer.called(servicer_context, in_loop=True)
        responses = method(request, servicer_context)
        try:
            async for response in responses:
                yield response
            if streams_requests:
                await _let_cancellation_come()
        except GeneratorExit:
            # gRPC let go of the stream, the RPC being over: the method's own generator goes too.
            await responses.aclose()
            raise
        except BaseException as error:
            observer.failed(error)
            raise
        observer.returned()

    return call


def _function(method: Method, observer: Observer | None, context: contextvars.Context) -> Method:
    """Run a sync method of one response in ``context``; gRPC calls it in a thread."""

    def call(request: Any, servicer_context: Any) -> Any:
        if observer is None:
            return context.run(method, request, servicer_context)
        observer.called(servicer_context, in_loop=False)
        try:
            response = context.run(method, request, servicer_context)
        except BaseException as error:
            observer.failed(error)
            raise
        observer.returned()
        return response

    return call


def _generator(method: Method, observer: Observer | None, context: contextvars.Context) -> Method:
    """Run a sync method of many responses in ``context``.

    gRPC calls the method in the event loop and iterates over the result in a thread.
    """

    def call(request: Any, servicer_context: Any) -> Iterator[Any]:
        if observer is not None:
            observer.called(servicer_context, in_loop=True)
        try:
            responses = context.run(method, request, servicer_context)
        except BaseException as error:
            if observer is not None:
                observer.failed(error)
            raise
        return _iterate(responses, observer, context)

    return call


def _iterate(
    responses: Any, observer: Observer | None, context: contextvars.Context
) -> Iterator[Any]:
    try:
        iterator = iter(responses)
        while True:
            try:
                response = context.run(next, iterator)
            except StopIteration:
                break
            yield response
    except GeneratorExit:
        close = getattr(responses, "close", None)
        if close is not None:
            context.run(close)
        raise
    except BaseException as error:
        if observer is not None:
            observer.failed(error)
        raise
    if observer is not None:
        observer.returned()


def _message(
    convert: Callable[[Any], Any] | None, observer: Observer | None
) -> Callable[[Any], Any] | None:
    """Watch a serializer or deserializer: gRPC runs them outside the method."""
    if convert is None or observer is None:
        return convert

    def watched_convert(message: Any) -> Any:
        try:
            return convert(message)
        except BaseException as error:
            observer.failed(error)
            raise

    return watched_convert
