"""Names that others gave: the attributes of RPC spans and metrics, each with its source.

Owns constants and nothing else. The conventions for RPC are a release candidate; where a name
changes, it changes here.

- RPC:     https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/
- metrics: https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/
- gRPC:    https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
- general: https://opentelemetry.io/docs/specs/semconv/general/attributes/
- service: https://opentelemetry.io/docs/specs/semconv/resource/service/
"""

from typing import Final

RPC_SYSTEM_NAME: Final = "rpc.system.name"
"""Which RPC system; set when the span is created. Source: RPC."""

RPC_SYSTEM_GRPC: Final = "grpc"
"""Value of ``rpc.system.name``. Source: gRPC."""

RPC_METHOD: Final = "rpc.method"
"""``package.Service/Method`` without a leading slash; also the span's name. Source: RPC."""

RPC_METHOD_OTHER: Final = "_OTHER"
"""Value of ``rpc.method`` for a method that the server does not have. Source: RPC."""

RPC_METHOD_ORIGINAL: Final = "rpc.method_original"
"""The method as the caller wrote it, where ``rpc.method`` is ``_OTHER``. Source: RPC."""

RPC_RESPONSE_STATUS_CODE: Final = "rpc.response.status_code"
"""Name of the gRPC status, as ``NOT_FOUND``; to be renamed ``rpc.status_code``. Source: gRPC."""

RPC_REQUEST_METADATA: Final = "rpc.request.metadata"
"""With a dot and a key: the values of that key in the request's metadata. Source: RPC."""

RPC_RESPONSE_METADATA: Final = "rpc.response.metadata"
"""With a dot and a key: the values of that key in the response's metadata. Source: RPC."""

RPC_CLIENT_CALL_DURATION: Final = "rpc.client.call.duration"
"""Histogram: how long calls took for their clients. Source: metrics."""

RPC_SERVER_CALL_DURATION: Final = "rpc.server.call.duration"
"""Histogram: how long calls took for their server. Source: metrics."""

RPC_DURATION_UNIT: Final = "s"
"""Unit of both histograms. Source: metrics."""

RPC_DURATION_BUCKETS_SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets of both histograms. Source: metrics."""

ERROR_TYPE: Final = "error.type"
"""Where the operation failed: an exception's class, or the status name. Source: gRPC."""

SERVER_ADDRESS: Final = "server.address"
"""Host name or address under which the server is called. Source: general."""

SERVER_PORT: Final = "server.port"
"""Port under which the server is called. Source: general."""

NETWORK_PEER_ADDRESS: Final = "network.peer.address"
"""IP address or Unix socket of the other end of the connection. Source: general."""

NETWORK_PEER_PORT: Final = "network.peer.port"
"""TCP port of the other end of the connection. Source: general."""

SERVICE_NAME: Final = "service.name"
"""Resource: logical name of the service. Source: service."""

SERVICE_VERSION: Final = "service.version"
"""Resource: version of the service. Source: service."""

SERVICE_INSTANCE_ID: Final = "service.instance.id"
"""Resource: one process of the service. Source: service."""

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the conventions that the names above are of."""
