"""Lean tracing: a tracer provider for OpenTelemetry's API that sends OTLP and costs little between."""

from linkspan_tracing.errors import TracingConfigurationError, TracingError
from linkspan_tracing.limits import SpanLimits
from linkspan_tracing.markers import STARTED_KIND, STARTED_SPAN_ID, export_start
from linkspan_tracing.open_spans import MarkingProcessor
from linkspan_tracing.provider import LeanTracerProvider, provider_from_env
from linkspan_tracing.sampling import Rule, UntrustingSampler
from linkspan_tracing.settings import Batching, Destination

__all__ = [
    "STARTED_KIND",
    "STARTED_SPAN_ID",
    "Batching",
    "Destination",
    "LeanTracerProvider",
    "MarkingProcessor",
    "Rule",
    "SpanLimits",
    "TracingConfigurationError",
    "TracingError",
    "UntrustingSampler",
    "export_start",
    "provider_from_env",
]
