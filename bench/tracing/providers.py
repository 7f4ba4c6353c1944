"""The providers that are compared, set up as a process sets them up."""

from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.types import AnyValue

from linkspan_tracing import Batching, Destination, LeanTracerProvider
from linkspan_tracing.over_grpc import GrpcSender

ATTRIBUTES: Final[dict[str, AnyValue]] = {
    "rpc.system.name": "grpc",
    "rpc.method": "linkspan.session.v1.SessionService/HandleRequest",
    "rpc.response.status_code": "OK",
    "server.address": "127.0.0.1",
    "server.port": 50051,
}
"""Five, as on the span of an RPC."""

_RESOURCE: Final = Resource({"service.name": "bench"})
_QUEUE_SPANS: Final = 1 << 16
"""So long that none is dropped: who drops spans is not faster."""


def sdk(endpoint: str) -> TracerProvider:
    """Return the SDK's provider, with its batch processor and its exporter."""
    provider = TracerProvider(resource=_RESOURCE, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=endpoint)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=_QUEUE_SPANS))
    return provider


def lean(endpoint: str) -> LeanTracerProvider:
    """Return the lean provider."""
    return LeanTracerProvider(
        _RESOURCE,
        sender=GrpcSender(Destination("grpc", endpoint.removeprefix("http://"))),
        batching=Batching(queue_spans=_QUEUE_SPANS),
    )
