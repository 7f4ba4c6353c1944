"""The client side for grpc.aio as interceptors: the current context into each call's metadata.

Owns four interceptors, one for each kind of call. ``channel`` does the same without gRPC's
interceptor machinery, is cheaper, and leaves the call objects those of bare gRPC; prefer it where
the channel is yours to wrap. Below lie ``carriers``, ``client_spans`` and ``call_ends``.

Invariants: the call that gRPC makes is returned untouched; what is carried is the context that is
current where the call is made; nothing that telemetry raises reaches the caller.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Unpack

import grpc
from opentelemetry.context import Context

from linkspan_propagation.call_ends import follow_aio, raised
from linkspan_propagation.carriers import Metadata, inject
from linkspan_propagation.client_spans import ClientSpans
from linkspan_propagation.contrib import is_instrumented
from linkspan_propagation.options import ClientChoices, ClientOptions

_LOGGER: Final = logging.getLogger(__name__)


def client_interceptors(**options: Unpack[ClientOptions]) -> list[grpc.aio.ClientInterceptor]:
    """Return interceptors for ``grpc.aio.insecure_channel(interceptors=[...])`` and its sibling.

    Without options they add no span: the server's span becomes a child of the span that is current
    here. Put them last, so that they have the last word on ``traceparent``.

    Args:
        **options: what to record, see ``ClientOptions``.

    Raises:
        MetadataCaptureError: a metadata key is asked for that may not be captured.
    """
    spans = client_spans(**options)
    return [_UnaryUnary(spans), _UnaryStream(spans), _StreamUnary(spans), _StreamStream(spans)]


def client_spans(**options: Unpack[ClientOptions]) -> ClientSpans:
    """Return who records the calls of a grpc.aio client."""
    return ClientSpans(ClientChoices(**options), gives_way=is_instrumented("aio_client"))


def carried(metadata: Metadata | None, context: Context | None = None) -> Metadata | None:
    """Return ``metadata`` with ``context`` in it, or as it was where that cannot be.

    Args:
        metadata: the caller's own entries.
        context: what to carry; None means the current context.

    Never raises. Metadata that gRPC will refuse come back unchanged, so that gRPC refuses them as
    it would have.
    """
    entries = metadata
    try:
        if metadata is not None and isinstance(metadata, Iterator):
            entries = tuple(metadata)  # it can be read once
        return inject(entries, context)
    except Exception:
        _LOGGER.debug("metadata left as they were", exc_info=True)
        return entries


_Continue = Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]]


class _Interceptor:
    """What the four have in common."""

    def __init__(self, spans: ClientSpans) -> None:
        self._spans = spans

    async def _call(
        self, continuation: _Continue, details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        record = None
        if self._spans.records:
            method: str | bytes = details.method
            record = self._spans.begin(
                method.decode() if isinstance(method, bytes) else method, details.metadata
            )
        if record is None:
            return await continuation(_with_context(details, None), request)
        try:
            call = await continuation(_with_context(details, record.context), request)
        except BaseException as error:
            raised(error, record)
            raise
        follow_aio(call, record, details.metadata)
        return call


def _with_context(
    details: grpc.aio.ClientCallDetails, context: Context | None
) -> grpc.aio.ClientCallDetails:
    metadata = carried(details.metadata, context)
    if metadata is None or metadata is details.metadata:
        return details
    return grpc.aio.ClientCallDetails(
        method=details.method,
        timeout=details.timeout,
        metadata=grpc.aio.Metadata.from_tuple(metadata),
        credentials=details.credentials,
        wait_for_ready=details.wait_for_ready,
    )


class _UnaryUnary(_Interceptor, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: _Continue, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await self._call(continuation, client_call_details, request)


class _UnaryStream(_Interceptor, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: _Continue, client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await self._call(continuation, client_call_details, request)


class _StreamUnary(_Interceptor, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self,
        continuation: _Continue,
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        return await self._call(continuation, client_call_details, request_iterator)


class _StreamStream(_Interceptor, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self,
        continuation: _Continue,
        client_call_details: grpc.aio.ClientCallDetails,
        request_iterator: Any,
    ) -> Any:
        return await self._call(continuation, client_call_details, request_iterator)
