"""The client side for grpc.aio as a channel: stubs made on it carry the current context.

Owns a channel that stands before another and hands metadata in where a stub calls. No interceptor
is involved, so that each call is bare gRPC's own object and costs no task more. Below lie
``carriers``, ``client``, ``client_spans`` and ``call_ends``; above lie ``calling`` and stubs.

Invariants: as in ``client``. What a channel can do beyond making calls goes to the channel behind.
"""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Unpack

import grpc

from linkspan_propagation.call_ends import follow_aio, raised
from linkspan_propagation.carriers import Metadata
from linkspan_propagation.client import carried, client_spans
from linkspan_propagation.client_spans import ClientSpans
from linkspan_propagation.options import ClientOptions


def traced_aio_channel(
    channel: grpc.aio.Channel, **options: Unpack[ClientOptions]
) -> grpc.aio.Channel:
    """Return a channel whose calls carry the current context; see ``traced_channel``."""
    return _TracedChannel(channel, client_spans(**options))


class _TracedChannel(grpc.aio.Channel):
    def __init__(self, channel: grpc.aio.Channel, spans: ClientSpans) -> None:
        self._channel = channel
        self._spans = spans

    async def __aenter__(self) -> "_TracedChannel":
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> bool | None:
        return await self._channel.__aexit__(exc_type, exc_val, exc_tb)

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._channel.channel_ready()

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


def method_name(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the full method, which is the first argument of all four."""
    method: str | bytes = args[0] if args else kwargs["method"]
    return method.decode() if isinstance(method, bytes) else method


class _Calls:
    """Makes calls of one method, each with the context that is current then."""

    def __init__(self, make_call: Callable[..., Any], spans: ClientSpans, method: str) -> None:
        self._make_call = make_call
        self._spans = spans
        self._method = method

    def _recorded(self, request: Any, metadata: Metadata | None, **others: Any) -> Any:
        """Make a call that may be recorded."""
        entries = tuple(metadata) if isinstance(metadata, Iterator) else metadata
        record = self._spans.begin(self._method, entries)
        if record is None:
            return self._make_call(request, metadata=carried(entries), **others)
        try:
            call = self._make_call(request, metadata=carried(entries, record.context), **others)
        except BaseException as error:
            raised(error, record)
            raise
        follow_aio(call, record, entries)
        return call


class _UnaryRequestCalls(_Calls):
    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        if self._spans.records:
            return self._recorded(
                request,
                metadata,
                timeout=timeout,
                credentials=credentials,
                wait_for_ready=wait_for_ready,
                compression=compression,
            )
        return self._make_call(
            request,
            timeout=timeout,
            metadata=carried(metadata),
            credentials=credentials,
            wait_for_ready=wait_for_ready,
            compression=compression,
        )


class _StreamRequestCalls(_Calls):
    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        if self._spans.records:
            return self._recorded(
                request_iterator,
                metadata,
                timeout=timeout,
                credentials=credentials,
                wait_for_ready=wait_for_ready,
                compression=compression,
            )
        return self._make_call(
            request_iterator,
            timeout=timeout,
            metadata=carried(metadata),
            credentials=credentials,
            wait_for_ready=wait_for_ready,
            compression=compression,
        )


class _UnaryUnaryCalls(_UnaryRequestCalls, grpc.aio.UnaryUnaryMultiCallable[Any, Any]):
    pass


class _UnaryStreamCalls(_UnaryRequestCalls, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    pass


class _StreamUnaryCalls(_StreamRequestCalls, grpc.aio.StreamUnaryMultiCallable[Any, Any]):
    pass


class _StreamStreamCalls(_StreamRequestCalls, grpc.aio.StreamStreamMultiCallable[Any, Any]):
    pass
