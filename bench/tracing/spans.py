"""Microseconds a span, without sending it."""

import itertools
import time
from collections.abc import Callable
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON, Sampler
from opentelemetry.trace import Tracer

from bench.figures import Section, number, spread
from bench.tracing.providers import ATTRIBUTES
from linkspan_tracing import LeanTracerProvider
from linkspan_tracing.encoding import SpanEncoder
from linkspan_tracing.span import LeanSpan

_SPANS: Final = 5_000
_PARENT: Final = trace.set_span_in_context(
    trace.NonRecordingSpan(trace.SpanContext(1 << 100, 1 << 50, True, trace.TraceFlags(1))),
    Context(),
)

Work = Callable[[], None]


class _Last(SpanProcessor):
    """Keeps the last span."""

    def __init__(self) -> None:
        self.span: ReadableSpan | None = None

    def on_end(self, span: ReadableSpan) -> None:
        self.span = span


def _at_start(tracer: Tracer) -> Work:
    return lambda: tracer.start_span(
        "McpSession.handleRequest", _PARENT, attributes=ATTRIBUTES
    ).end()


def _one_by_one(tracer: Tracer) -> Work:
    def work() -> None:
        span = tracer.start_span("McpSession.handleRequest", _PARENT)
        for key, value in ATTRIBUTES.items():
            span.set_attribute(key, value)
        span.end()

    return work


def _as_current(tracer: Tracer) -> Work:
    def work() -> None:
        with tracer.start_as_current_span("tools/call", _PARENT, attributes=ATTRIBUTES):
            pass

    return work


def _encoding() -> tuple[Work, Work]:
    """Return encoding of a span whose session id is new each time, by the SDK and lean."""
    last = _Last()
    lean_provider, sdk_provider = LeanTracerProvider(Resource({})), TracerProvider()
    sdk_provider.add_span_processor(last)
    lean_spans: list[LeanSpan] = []
    sdk_spans: list[ReadableSpan] = []
    for _, provider in itertools.product(range(_SPANS), (lean_provider, sdk_provider)):
        span = provider.get_tracer("t").start_span("tools/call", _PARENT, attributes=ATTRIBUTES)
        context = span.get_span_context()
        span.set_attribute("mcp.session.id", f"{context.span_id:032x}")
        span.end()
        if isinstance(span, LeanSpan):
            lean_spans.append(span)
        elif last.span is not None:
            sdk_spans.append(last.span)
    encoder = SpanEncoder()
    lean, sdk = itertools.cycle(lean_spans), itertools.cycle(sdk_spans)

    def by_sdk() -> None:
        encode_spans([next(sdk)]).SerializeToString()

    def by_hand() -> None:
        encoder.span(next(lean))

    return by_sdk, by_hand


def _pair(make: Callable[[Tracer], Work], sampler: Sampler) -> tuple[Work, Work]:
    sdk = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("t")
    lean = LeanTracerProvider(Resource({}), sampler=sampler).get_tracer("t")
    return make(sdk), make(lean)


def _micros(work: Work) -> float:
    start = time.perf_counter()
    for _ in range(_SPANS):
        work()
    return (time.perf_counter() - start) / _SPANS * 1e6


def measure(rounds: int) -> Section:
    """Measure, the two taking turns."""
    section = Section(
        "A span",
        "Microseconds a span with five attributes below a remote parent, in one thread, not sent. "
        "What is encoded has a sixth attribute that no two spans share.",
        ("", "SDK, µs", "lean, µs", "SDK / lean"),
    )
    rows = {
        "start and end, attributes at the start": _pair(_at_start, DEFAULT_ON),
        "start, set five attributes, end": _pair(_one_by_one, DEFAULT_ON),
        "start as the current span, and end": _pair(_as_current, DEFAULT_ON),
        "start and end, not sampled": _pair(_at_start, ALWAYS_OFF),
        "encode": _encoding(),
    }
    for what, (sdk, lean) in rows.items():
        taken = [(_micros(sdk), _micros(lean)) for _ in range(rounds)]
        section.rows.append(
            (
                what,
                spread([pair[0] for pair in taken], number),
                spread([pair[1] for pair in taken], number),
                spread([pair[0] / pair[1] for pair in taken], number),
            )
        )
    return section
