"""The client side for grpc.aio as interceptors: the current context into each call's metadata.

Owns four interceptors, one for each kind of call. ``channel`` does the same without gRPC's
interceptor machinery, is cheaper, and leaves the call objects those of bare gRPC; prefer it where
the channel is yours to wrap. Below lies ``carriers``.

Invariants: the call that gRPC makes is returned untouched; what is carried is the context that is
current where the call is made; nothing that telemetry raises reaches the caller.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import grpc

from linkspan_propagation.carriers import Metadata, inject

_LOGGER: Final = logging.getLogger(__name__)


def client_interceptors() -> list[grpc.aio.ClientInterceptor]:
    """Return interceptors for ``grpc.aio.insecure_channel(interceptors=[...])`` and its sibling.

    They add no span: the server's span becomes a child of the span that is current here. Put them
    last, so that they have the last word on ``traceparent``.
    """
    return [_UnaryUnary(), _UnaryStream(), _StreamUnary(), _StreamStream()]


def carried(metadata: Metadata | None) -> Metadata | None:
    """Return ``metadata`` with the current context in it, or as it was where that cannot be.

    Never raises. Metadata that gRPC will refuse come back unchanged, so that gRPC refuses them as
    it would have.
    """
    entries = metadata
    try:
        if isinstance(metadata, Iterator):
            entries = tuple(metadata)  # it can be read once
        return inject(entries)
    except Exception:
        _LOGGER.debug("metadata left as they were", exc_info=True)
        return entries


def _with_context(details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
    metadata = carried(details.metadata)
    if metadata is None or metadata is details.metadata:
        return details
    return grpc.aio.ClientCallDetails(
        method=details.method,
        timeout=details.timeout,
        metadata=grpc.aio.Metadata.from_tuple(metadata),
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )


_Continue = Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]]


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: _Continue, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_with_context(client_call_details), request)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: _Continue, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_with_context(client_call_details), request)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self,
        continuation: _Continue,
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        return await continuation(_with_context(client_call_details), request_iterator)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self,
        continuation: _Continue,
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        return await continuation(_with_context(client_call_details), request_iterator)
