"""The metrics of a session server, each declared once; docs/metrics.md is held equal to this.

Pure. Above lie `measuring` and the modules that count what happens seldom.
"""

from typing import Final

from linkspan_process.metrics.catalog import DURATION_BUCKETS_SECONDS, Metric

_MCP: Final = "https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/#metrics"

MCP_BUCKETS_SECONDS: Final = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
"""Upper bounds of the buckets of MCP durations. Source: the MCP conventions."""

_STORE_BUCKETS_SECONDS: Final = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5,
)  # fmt: skip
"""A commit takes tens of microseconds; nobody waits for a store longer than two seconds."""

OPERATION_DURATION: Final = Metric(
    "mcp.server.operation.duration",
    "histogram",
    "s",
    "How long the hosted server took for a request or notification of MCP.",
    (
        "mcp.method.name",
        "mcp.protocol.version",
        "gen_ai.tool.name",
        "gen_ai.prompt.name",
        "error.type",
        "rpc.response.status_code",
    ),
    _MCP,
    MCP_BUCKETS_SECONDS,
)

SESSION_DURATION: Final = Metric(
    "mcp.server.session.duration",
    "histogram",
    "s",
    "How long sessions lived, from `Init` to their end by a client or an operator.",
    ("mcp.protocol.version",),
    _MCP,
    MCP_BUCKETS_SECONDS,
)

CALL_DURATION: Final = Metric(
    "rpc.server.call.duration",
    "histogram",
    "s",
    "How long calls of workers took, to the last event; a listening stream lasts while it is open.",
    ("rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type"),
    "https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/",
    DURATION_BUCKETS_SECONDS,
)

SESSIONS: Final = Metric(
    "linkspan.session.sessions",
    "gauge",
    "{session}",
    "Sessions in the memory of this server; those asleep are in the store and nobody's.",
    ("state",),
)

CREATIONS: Final = Metric(
    "linkspan.session.creations", "counter", "{session}", "Sessions that were created."
)

WAKES: Final = Metric(
    "linkspan.session.wakes", "counter", "{session}", "Sessions that were asleep and were woken."
)

TAKE_OVERS: Final = Metric(
    "linkspan.session.take_overs",
    "counter",
    "{session}",
    "Sessions that were taken over from a server that is gone.",
)

SLEEPS: Final = Metric(
    "linkspan.session.sleeps", "counter", "{session}", "Sessions that were sent to sleep."
)

LOSSES: Final = Metric(
    "linkspan.session.losses",
    "counter",
    "{session}",
    "Sessions that another server had taken over while they were in memory here.",
)

ENDS: Final = Metric(
    "linkspan.session.ends",
    "counter",
    "{session}",
    "Sessions that were ended by their client or an operator.",
)

SWEPT: Final = Metric(
    "linkspan.session.swept",
    "counter",
    "{session}",
    "Sessions that this server closed as expired, and old records that it removed.",
)

REQUESTS: Final = Metric(
    "linkspan.session.requests", "gauge", "{request}", "Requests of MCP whose handlers run."
)

STREAMS: Final = Metric(
    "linkspan.session.streams", "gauge", "{stream}", "Calls of workers whose events are read."
)

BUFFERED: Final = Metric(
    "linkspan.session.buffered",
    "gauge",
    "By",
    "Bytes of events that workers have not taken yet.",
)

CUT_OFFS: Final = Metric(
    "linkspan.session.stream.cut_offs",
    "counter",
    "{stream}",
    "Streams that were ended because their reader did not keep up, by reason.",
    ("reason",),
)

REFUSALS: Final = Metric(
    "linkspan.session.refusals",
    "counter",
    "{call}",
    "Calls of workers that were refused, by the contract's reason.",
    ("reason",),
)

STORE_DURATION: Final = Metric(
    "linkspan.session.store.duration",
    "histogram",
    "s",
    "How long the store took, waiting in line included.",
    ("operation", "error.type"),
    buckets=_STORE_BUCKETS_SECONDS,
)

STORE_PENDING: Final = Metric(
    "linkspan.session.store.pending",
    "gauge",
    "{operation}",
    "Operations that wait for the store or are being done: the depth of its queue.",
)

CERTIFICATE_LEFT: Final = Metric(
    "linkspan.session.certificate.left",
    "gauge",
    "s",
    "For how long this server's certificate is good; less than 0 once it is not. With TLS only.",
)

METRICS: Final = (
    OPERATION_DURATION,
    SESSION_DURATION,
    CALL_DURATION,
    SESSIONS,
    CREATIONS,
    WAKES,
    TAKE_OVERS,
    SLEEPS,
    LOSSES,
    ENDS,
    SWEPT,
    REQUESTS,
    STREAMS,
    BUFFERED,
    CUT_OFFS,
    REFUSALS,
    STORE_DURATION,
    STORE_PENDING,
    CERTIFICATE_LEFT,
)
"""All of them, in the order of the documentation."""
