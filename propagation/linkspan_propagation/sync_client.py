"""The client side for sync gRPC as interceptors: the current context into each call's metadata.

Owns one interceptor for all four kinds of calls. ``sync_channel`` does the same without gRPC's
interceptor machinery, is cheaper, and leaves the call objects those of bare gRPC; prefer it where
the channel is yours to wrap. Below lie ``carriers``, ``client_spans`` and ``call_ends``.

Invariants: as in ``client``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Unpack

import grpc
from opentelemetry.context import Context

from linkspan_propagation.call_ends import follow_sync, raised
from linkspan_propagation.carriers import MetadataEntry
from linkspan_propagation.client import carried
from linkspan_propagation.client_spans import ClientSpans
from linkspan_propagation.contrib import is_instrumented
from linkspan_propagation.options import ClientChoices, ClientOptions


def sync_client_interceptor(**options: Unpack[ClientOptions]) -> "SyncClientInterceptor":
    """Return an interceptor for ``grpc.intercept_channel(channel, ...)``.

    Put it last, so that it has the last word on ``traceparent``.

    Args:
        **options: what to record, see ``ClientOptions``.

    Raises:
        MetadataCaptureError: a metadata key is asked for that may not be captured.
    """
    return SyncClientInterceptor(sync_client_spans(**options))


def sync_client_spans(**options: Unpack[ClientOptions]) -> ClientSpans:
    """Return who records the calls of a sync client."""
    return ClientSpans(ClientChoices(**options), gives_way=is_instrumented("sync_client"))


class SyncClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Carries the current context with each call, of whichever kind."""

    def __init__(self, spans: ClientSpans) -> None:
        """Make it by ``sync_client_interceptor``."""
        self._spans = spans

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make the call with the current context."""
        return self._call(continuation, client_call_details, request)

    def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make the call with the current context."""
        return self._call(continuation, client_call_details, request)

    def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Make the call with the current context."""
        return self._call(continuation, client_call_details, request_iterator)

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Make the call with the current context."""
        return self._call(continuation, client_call_details, request_iterator)

    def _call(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        record = None
        if self._spans.records:
            record = self._spans.begin(details.method, details.metadata)
        if record is None:
            return continuation(_with_context(details, None), request)
        try:
            call = continuation(_with_context(details, record.context), request)
        except BaseException as error:
            raised(error, record)
            raise
        follow_sync(call, record)
        return call


class _Details(NamedTuple):
    """What gRPC reads off the details of a call."""

    method: str
    timeout: float | None
    metadata: tuple[MetadataEntry, ...] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _CallDetails(_Details, grpc.ClientCallDetails):
    pass


def _with_context(details: Any, context: Context | None) -> Any:
    metadata = carried(details.metadata, context)
    if metadata is None or metadata is details.metadata:
        return details
    return _CallDetails(
        details.method,
        details.timeout,
        tuple(metadata),
        details.credentials,
        details.wait_for_ready,
        details.compression,
    )
