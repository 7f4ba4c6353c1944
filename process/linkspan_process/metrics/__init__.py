"""Metrics of a process: declared, counted, and offered to Prometheus or sent over OTLP.

`catalog` is what a metric is declared with; `histograms` counts durations at little cost; `text`
writes what Prometheus reads, `endpoint` serves it; `meters` sets all that up, or nothing at all.
"""

from linkspan_process.metrics.catalog import (
    DURATION_BUCKETS_SECONDS,
    Metric,
    counter,
    histogram,
    observe,
)
from linkspan_process.metrics.meters import Meters, metering, metrics_address

__all__ = [
    "DURATION_BUCKETS_SECONDS",
    "Meters",
    "Metric",
    "counter",
    "histogram",
    "metering",
    "metrics_address",
    "observe",
]
