"""The client side for sync gRPC as a channel: stubs made on it carry the current context.

Owns a channel that stands before another and hands metadata in where a stub calls. Below lie
``carriers``, ``client``, ``client_spans`` and ``call_ends``; above lie ``calling`` and stubs.

Invariants: as in ``client``. What a channel can do beyond making calls goes to the channel behind.
"""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Unpack

import grpc

from linkspan_propagation.call_ends import follow_sync, raised
from linkspan_propagation.carriers import Metadata
from linkspan_propagation.channel import method_name
from linkspan_propagation.client import carried
from linkspan_propagation.client_spans import ClientSpans
from linkspan_propagation.options import ClientOptions
from linkspan_propagation.sync_client import sync_client_spans

if TYPE_CHECKING:
    _UnaryUnary = grpc.UnaryUnaryMultiCallable[Any, Any]
    _UnaryStream = grpc.UnaryStreamMultiCallable[Any, Any]
    _StreamUnary = grpc.StreamUnaryMultiCallable[Any, Any]
    _StreamStream = grpc.StreamStreamMultiCallable[Any, Any]
else:  # generic in their stubs only
    _UnaryUnary = grpc.UnaryUnaryMultiCallable
    _UnaryStream = grpc.UnaryStreamMultiCallable
    _StreamUnary = grpc.StreamUnaryMultiCallable
    _StreamStream = grpc.StreamStreamMultiCallable

_METADATA_AT: Final = 2
"""Place of ``metadata`` among the arguments of a call: request, timeout, metadata, and so on."""


def traced_sync_channel(channel: grpc.Channel, **options: Unpack[ClientOptions]) -> grpc.Channel:
    """Return a channel whose calls carry the current context; see ``traced_channel``."""
    return _TracedSyncChannel(channel, sync_client_spans(**options))


class _TracedSyncChannel(grpc.Channel):
    def __init__(self, channel: grpc.Channel, spans: ClientSpans) -> None:
        self._channel = channel
        self._spans = spans

    def __enter__(self) -> "_TracedSyncChannel":
        self._channel.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        return self._channel.__exit__(exc_type, exc_val, exc_tb)

    def close(self) -> None:
        self._channel.close()

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False
    ) -> None:
        self._channel.subscribe(callback, try_to_connect=try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        self._channel.unsubscribe(callback)

    # Generated stubs hand over arguments that no type declares (_registered_method): pass them on.
    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        make: Callable[..., Any] = self._channel.unary_unary
        return _UnaryUnaryCalls(make(*args, **kwargs), self._spans, method_name(args, kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        make: Callable[..., Any] = self._channel.unary_stream
        return _UnaryStreamCalls(make(*args, **kwargs), self._spans, method_name(args, kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        make: Callable[..., Any] = self._channel.stream_unary
        return _StreamUnaryCalls(make(*args, **kwargs), self._spans, method_name(args, kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        make: Callable[..., Any] = self._channel.stream_stream
        return _StreamStreamCalls(make(*args, **kwargs), self._spans, method_name(args, kwargs))


class _Calls:
    """Makes calls of one method, each with the context that is current then."""

    def __init__(self, calls: Any, spans: ClientSpans, method: str) -> None:
        self._calls = calls
        self._spans = spans
        self._method = method

    def _waited_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Make a call and wait for its one response; return that and the call."""
        metadata, args, kwargs = _taken(args, kwargs)
        record = self._spans.begin(self._method, metadata)
        context = None if record is None else record.context
        try:
            response, call = self._calls.with_call(
                *args, **kwargs, metadata=carried(metadata, context)
            )
        except BaseException as error:
            if record is not None:
                raised(error, record)
            raise
        if record is not None:
            follow_sync(call, record)
        return response, call

    def _started(
        self, make_call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Make a call that goes on, and return it."""
        metadata, args, kwargs = _taken(args, kwargs)
        record = self._spans.begin(self._method, metadata)
        if record is None:
            return make_call(*args, **kwargs, metadata=carried(metadata))
        try:
            call = make_call(*args, **kwargs, metadata=carried(metadata, record.context))
        except BaseException as error:
            raised(error, record)
            raise
        follow_sync(call, record)
        return call


class _OneResponse(_Calls):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._spans.records:
            return self._waited_for(args, kwargs)[0]
        metadata, args, kwargs = _taken(args, kwargs)
        return self._calls(*args, **kwargs, metadata=carried(metadata))

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        return self._waited_for(args, kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        return self._started(self._calls.future, args, kwargs)


class _ManyResponses(_Calls):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._started(self._calls, args, kwargs)


class _UnaryUnaryCalls(_OneResponse, _UnaryUnary):
    pass


class _UnaryStreamCalls(_ManyResponses, _UnaryStream):
    pass


class _StreamUnaryCalls(_OneResponse, _StreamUnary):
    pass


class _StreamStreamCalls(_ManyResponses, _StreamStream):
    pass


def _taken(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """Take the metadata out of the arguments of a call: ``metadata, args, kwargs``."""
    if len(args) > _METADATA_AT:
        # What comes behind by place is handed on by name, as metadata is.
        behind = ("credentials", "wait_for_ready", "compression")
        named = dict(zip(behind, args[_METADATA_AT + 1 :], strict=False))
        metadata, args, kwargs = args[_METADATA_AT], args[:_METADATA_AT], {**kwargs, **named}
    else:
        metadata = kwargs.pop("metadata", None)
    return _kept(metadata), args, kwargs


def _kept(metadata: Metadata | None) -> Metadata | None:
    return tuple(metadata) if isinstance(metadata, Iterator) else metadata  # it can be read once
