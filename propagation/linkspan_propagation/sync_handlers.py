"""A servicer's method of a sync server, watched: somebody hears how it goes.

The counterpart of ``handlers`` for ``grpc.server``, which runs every method in a thread of its
pool, in a context of the RPC's own. Above lies ``sync_server``; below lies gRPC.

Invariants:
- exceptions pass unchanged, where and when they come; a response passes the instant it comes;
- what gRPC reads off a method beside calling it (``experimental_thread_pool``,
  ``experimental_non_blocking``) stays readable;
- a generator that gRPC lets go of is let go of.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc

from linkspan_propagation.handlers import Handler, Method


class SyncObserver(Protocol):
    """Hears what becomes of one RPC, in whatever thread it happens. None of these may raise."""

    def called(self, servicer_context: Any) -> None:
        """The method is about to run."""

    def returned(self) -> None:
        """The method returned, or its responses came to their end."""

    def failed(self, error: BaseException) -> None:
        """This came out of the method."""

    def unreadable(self) -> None:
        """A message could not be read or written."""


def watched_sync(handler: Handler, observer: SyncObserver) -> Handler:
    """Return a handler that does what ``handler`` does."""
    requests = "stream" if handler.request_streaming else "unary"
    responses = "stream" if handler.response_streaming else "unary"
    name = f"{requests}_{responses}"
    method: Method | None = getattr(handler, name)
    if method is None:
        return handler
    if getattr(method, "experimental_non_blocking", False):
        call = _non_blocking(method, observer)
    elif handler.response_streaming:
        call = _many_responses(method, observer)
    else:
        call = _one_response(method, observer)
    factory: Callable[..., Handler] = getattr(grpc, f"{name}_rpc_method_handler")
    return factory(
        call,
        request_deserializer=_message(handler.request_deserializer, observer),
        response_serializer=_message(handler.response_serializer, observer),
    )


def _one_response(method: Method, observer: SyncObserver) -> Method:
    @functools.wraps(method)
    def call(request: Any, servicer_context: Any) -> Any:
        observer.called(servicer_context)
        try:
            response = method(request, servicer_context)
        except BaseException as error:
            observer.failed(error)
            raise
        observer.returned()
        return response

    return call


def _many_responses(method: Method, observer: SyncObserver) -> Method:
    @functools.wraps(method)
    def call(request: Any, servicer_context: Any) -> Iterator[Any]:
        observer.called(servicer_context)
        try:
            responses = method(request, servicer_context)
        except BaseException as error:
            observer.failed(error)
            raise
        return _each(responses, observer)

    return call


def _each(responses: Any, observer: SyncObserver) -> Iterator[Any]:
    while True:
        try:
            # Not iter(): gRPC does not call it either, and says what it misses.
            response = next(responses)
        except StopIteration:
            break
        except BaseException as error:
            observer.failed(error)
            raise
        yield response
    observer.returned()


def _non_blocking(method: Callable[..., Any], observer: SyncObserver) -> Callable[..., Any]:
    """Watch a method that is handed whom to tell its responses, as gRPC's health service has."""

    @functools.wraps(method)
    def call(request: Any, servicer_context: Any, send: Callable[[Any], None]) -> Any:
        def watched_send(response: Any) -> None:
            if response is None:
                observer.returned()
            send(response)

        observer.called(servicer_context)
        try:
            return method(request, servicer_context, watched_send)
        except BaseException as error:
            observer.failed(error)
            raise

    return call


def _message(
    convert: Callable[[Any], Any] | None, observer: SyncObserver
) -> Callable[[Any], Any] | None:
    """Watch a serializer or deserializer: gRPC logs what they raise, and takes None as badly."""
    if convert is None:
        return None

    def watched_convert(message: Any) -> Any:
        try:
            converted = convert(message)
        except BaseException:
            observer.unreadable()
            raise
        if converted is None:
            observer.unreadable()
        return converted

    return watched_convert
