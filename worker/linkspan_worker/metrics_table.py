"""The metrics of a worker, each declared once; docs/metrics.md is held equal to this.

Pure. Above lie `measuring` and the modules that count what happens seldom.
"""

from typing import Final

from linkspan_process.metrics.catalog import DURATION_BUCKETS_SECONDS, Metric

REQUEST_DURATION: Final = Metric(
    "http.server.request.duration",
    "histogram",
    "s",
    "How long HTTP requests took, to the last byte of their answer; a stream lasts while it is open.",
    (
        "http.request.method",
        "url.scheme",
        "http.route",
        "http.response.status_code",
        "error.type",
        "network.protocol.version",
    ),
    "https://opentelemetry.io/docs/specs/semconv/http/http-metrics/",
    DURATION_BUCKETS_SECONDS,
)

CALL_DURATION: Final = Metric(
    "rpc.client.call.duration",
    "histogram",
    "s",
    "How long calls to session servers took; each send of a request is one.",
    ("rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type"),
    "https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/",
    DURATION_BUCKETS_SECONDS,
)

REQUESTS: Final = Metric(
    "linkspan.worker.requests", "gauge", "{request}", "HTTP requests that are being answered."
)

CONNECTIONS: Final = Metric(
    "linkspan.worker.connections", "gauge", "{connection}", "Connections of clients that are open."
)

STREAMS: Final = Metric(
    "linkspan.worker.streams", "gauge", "{stream}", "Event streams to clients that are open."
)

BUFFERED: Final = Metric(
    "linkspan.worker.buffered",
    "gauge",
    "By",
    "Bytes of answers that clients have not taken yet.",
)

REFUSALS: Final = Metric(
    "linkspan.worker.refusals",
    "counter",
    "{request}",
    "Requests that were answered with an error of the worker's or a session server's own.",
    ("reason",),
)

RESENDS: Final = Metric(
    "linkspan.worker.resends",
    "counter",
    "{call}",
    "Calls to session servers that were sent again, by what had failed before.",
    ("reason",),
)

CUT_OFFS: Final = Metric(
    "linkspan.worker.cut_offs",
    "counter",
    "{connection}",
    "Connections that were broken because their client took nothing of its answer.",
)

CERTIFICATE_LEFT: Final = Metric(
    "linkspan.worker.certificate.left",
    "gauge",
    "s",
    "For how long this worker's certificate is good; less than 0 once it is not. With TLS only.",
)

METRICS: Final = (
    REQUEST_DURATION,
    CALL_DURATION,
    REQUESTS,
    CONNECTIONS,
    STREAMS,
    BUFFERED,
    REFUSALS,
    RESENDS,
    CUT_OFFS,
    CERTIFICATE_LEFT,
)
"""All of them, in the order of the documentation."""
