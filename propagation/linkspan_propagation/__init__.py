"""W3C trace context over gRPC metadata, for grpc.aio.

Knows gRPC and OpenTelemetry and nothing else; ``README.md`` beside this package says how to use it.
``linkspan_propagation.testing`` has an OTLP receiver and assertions for tests, and
``linkspan_propagation.conventions`` the names of attributes.
"""

from linkspan_propagation.carriers import (
    Metadata,
    MetadataEntry,
    extract,
    extract_from_fields,
    inject,
    inject_into_fields,
)
from linkspan_propagation.channel import traced_channel
from linkspan_propagation.client import client_interceptors
from linkspan_propagation.errors import PropagationError, TelemetryConfigurationError
from linkspan_propagation.server import server_interceptor
from linkspan_propagation.telemetry import Telemetry, set_up_telemetry
from linkspan_propagation.traceparent import TraceParent, format_traceparent, parse_traceparent

__all__ = [
    "Metadata",
    "MetadataEntry",
    "PropagationError",
    "Telemetry",
    "TelemetryConfigurationError",
    "TraceParent",
    "client_interceptors",
    "extract",
    "extract_from_fields",
    "format_traceparent",
    "inject",
    "inject_into_fields",
    "parse_traceparent",
    "server_interceptor",
    "set_up_telemetry",
    "traced_channel",
]
