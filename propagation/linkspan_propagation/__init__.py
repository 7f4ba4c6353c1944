"""W3C trace context over gRPC metadata, for grpc.aio and sync gRPC.

Knows gRPC and OpenTelemetry and nothing else; ``README.md`` beside this package says how to use it.
``linkspan_propagation.testing`` has an OTLP receiver and assertions for tests, and
``linkspan_propagation.conventions`` the names of attributes.
"""

from linkspan_propagation.calling import traced_channel
from linkspan_propagation.carriers import (
    Metadata,
    MetadataEntry,
    extract,
    extract_from_fields,
    inject,
    inject_into_fields,
)
from linkspan_propagation.client import client_interceptors
from linkspan_propagation.contrib import (
    contrib_client_interceptors,
    contrib_server_interceptor,
    contrib_sync_client_channel,
    contrib_sync_server_interceptor,
    remove_contrib_patches,
)
from linkspan_propagation.errors import (
    InstrumentationMissingError,
    MetadataCaptureError,
    PropagationError,
    TelemetryConfigurationError,
)
from linkspan_propagation.options import ClientOptions, ServerOptions
from linkspan_propagation.server import server_interceptor
from linkspan_propagation.serving import traced_server
from linkspan_propagation.sync_client import sync_client_interceptor
from linkspan_propagation.sync_server import sync_server_interceptor
from linkspan_propagation.telemetry import Telemetry, set_up_telemetry
from linkspan_propagation.traceparent import TraceParent, format_traceparent, parse_traceparent
from linkspan_propagation.traceresponse import TRACERESPONSE, format_traceresponse

__all__ = [
    "TRACERESPONSE",
    "ClientOptions",
    "InstrumentationMissingError",
    "Metadata",
    "MetadataCaptureError",
    "MetadataEntry",
    "PropagationError",
    "ServerOptions",
    "Telemetry",
    "TelemetryConfigurationError",
    "TraceParent",
    "client_interceptors",
    "contrib_client_interceptors",
    "contrib_server_interceptor",
    "contrib_sync_client_channel",
    "contrib_sync_server_interceptor",
    "extract",
    "extract_from_fields",
    "format_traceparent",
    "format_traceresponse",
    "inject",
    "inject_into_fields",
    "parse_traceparent",
    "remove_contrib_patches",
    "server_interceptor",
    "set_up_telemetry",
    "sync_client_interceptor",
    "sync_server_interceptor",
    "traced_channel",
    "traced_server",
]
