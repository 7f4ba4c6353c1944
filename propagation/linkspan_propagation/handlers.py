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
from typing import Any, Final, Protocol, TypeAlias

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


class _Nobody:
    """Hears nothing: stands where no RPC is known, as in a task that an RPC has not started."""

    def called(self, servicer_context: Any, *, in_loop: bool) -> None:
        """Nothing."""

    def returned(self) -> None:
        """Nothing."""

    def failed(self, error: BaseException) -> None:
        """Nothing."""


Observing: TypeAlias = Callable[[], Observer]
"""Tells who observes the RPC that runs."""

_NOBODY: Final = _Nobody()
_MOST_KNOWN_METHODS: Final = 256


class Watches:
    """The handlers of a server, by their methods; kept, since looking into one takes long."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: dict[str, Watch] = {}

    def watched(self, full_method: str, handler: Handler, observer: Observer | None) -> Handler:
        """Return the handler for one RPC, watched; see ``Watch.by``."""
        watch = self._known.get(full_method)
        if watch is None or watch.handler is not handler:
            watch = Watch(handler)
            if len(self._known) < _MOST_KNOWN_METHODS:
                self._known[full_method] = watch
        return watch.by(observer)


class Watch:
    """A handler that can be watched.

    What runs in the RPC's task, from the first message to the last, is wrapped once, and finds the
    observer of its RPC in the task's context. Wrapped for each RPC is what runs in threads, and a
    coroutine that has its context read or write messages, which any task may do.
    """

    __slots__ = ("_is_coroutine", "_method", "_name", "_observer", "_shared", "handler")

    def __init__(self, handler: Handler) -> None:
        """Look into a handler."""
        requests = "stream" if handler.request_streaming else "unary"
        responses = "stream" if handler.response_streaming else "unary"
        self._name = f"{requests}_{responses}"
        self.handler = handler
        self._method: Method | None = getattr(handler, self._name)
        self._observer: contextvars.ContextVar[Observer] = contextvars.ContextVar(
            "linkspan_rpc", default=_NOBODY
        )
        self._is_coroutine = inspect.iscoroutinefunction(self._method)
        streams = handler.request_streaming or handler.response_streaming
        self._shared = (
            None
            if self._is_coroutine and streams
            else self._wrapped_in_loop(self._method, self._observer.get)
        )

    def by(self, observer: Observer | None) -> Handler:
        """Return a handler that does what this one does, for one RPC, in the current context.

        Call it in the RPC's own task, with the context set that sync methods are to see; methods
        that run in the task see it anyway.
        """
        shared, method = self._shared, self._method
        if shared is not None:
            if observer is None:
                return self.handler
            self._observer.set(observer)
            return shared
        if method is None or (observer is None and self._is_coroutine):
            return self.handler
        if observer is not None and self._is_coroutine:
            return self._wrapped_in_loop(method, lambda: observer) or self.handler
        context = contextvars.copy_context()
        wrap = _generator if self.handler.response_streaming else _function
        observing = None if observer is None else lambda: observer
        return self._wrapped(wrap(method, observer, context), observing)

    def _wrapped_in_loop(self, method: Any, observing: Observing) -> "Handler | None":
        """Return the handler wrapped if its method runs in the RPC's task; else None."""
        streams_requests = self.handler.request_streaming
        if inspect.iscoroutinefunction(method):
            return self._wrapped(
                _coroutine(method, observing, streams_requests=streams_requests), observing
            )
        if inspect.isasyncgenfunction(method):
            if not self.handler.response_streaming:  # an error, and gRPC is the one to say so
                return self._wrapped(method, observing)
            return self._wrapped(
                _async_generator(method, observing, streams_requests=streams_requests), observing
            )
        return None

    def _wrapped(self, method: Method, observing: Observing | None) -> Handler:
        """Return a handler of the same kind with another method."""
        make: Callable[..., Handler] = getattr(grpc, f"{self._name}_rpc_method_handler")
        return make(
            method,
            request_deserializer=_message(self.handler.request_deserializer, observing),
            response_serializer=_message(self.handler.response_serializer, observing),
        )


async def _let_cancellation_come() -> None:
    """Let the loop run once, for a cancellation that may be on its way.

    Where a client cuts its stream of requests, gRPC tells the method that the stream has come to
    its end, and cancels the task right afterwards, but not once the method has returned: the RPC
    then looks like one that went well. This catches nine in ten of them, and costs the others a
    turn.
    """
    await asyncio.sleep(0)


def _coroutine(method: Method, observing: Observing, *, streams_requests: bool) -> Method:
    """Watch a coroutine function: one response, or ``context.write()`` for many."""

    async def call(request: Any, servicer_context: Any) -> Any:
        observer = observing()
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


def _async_generator(method: Method, observing: Observing, *, streams_requests: bool) -> Method:
    async def call(request: Any, servicer_context: Any) -> AsyncGenerator[Any, None]:
        observer = observing()
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
    convert: Callable[[Any], Any] | None, observing: Observing | None
) -> Callable[[Any], Any] | None:
    """Watch a serializer or deserializer: gRPC runs them outside the method."""
    if convert is None or observing is None:
        return convert

    def watched_convert(message: Any) -> Any:
        try:
            return convert(message)
        except BaseException as error:
            observing().failed(error)
            raise

    return watched_convert
