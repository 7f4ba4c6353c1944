"""The metrics that telemetry has of itself: what was lost on its way, in every process alike.

Pure. Above lie `log_export` and docs/metrics.md; the first one is counted by `linkspan_tracing`.
"""

from typing import Final

from linkspan_process.metrics.catalog import Metric
from linkspan_tracing.losses import METRIC as DROPPED_SPANS_NAME

DROPPED_SPANS: Final = Metric(
    DROPPED_SPANS_NAME,
    "counter",
    "{span}",
    "Spans that were recorded and did not reach where they were to go.",
    ("reason",),
)

DROPPED_LOGS: Final = Metric(
    "linkspan.telemetry.dropped_logs",
    "counter",
    "{record}",
    "Log records that were to be sent over OTLP and did not reach where they were to go.",
    ("reason",),
)

LOST_AUDIT_EVENTS: Final = Metric(
    "linkspan.audit.lost",
    "counter",
    "{event}",
    "Events of the audit trail that did not reach where they were to go, or were left out.",
    ("sink",),
)

METRICS: Final = (DROPPED_SPANS, DROPPED_LOGS, LOST_AUDIT_EVENTS)
"""All of them, in the order of the documentation."""
