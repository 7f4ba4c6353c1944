"""Start markers: that a long operation began, sent while it still runs.

A span is sent when it ends, so a process that is killed takes its open spans with it: the spans below
them are left without a parent, and of the operation itself nothing is known. OTLP knows no span that is
sent twice; backends drop, double or mix up spans of one id. So a marker is a span of its own.

Owns what a marker looks like. Uses the API only, so that it is the same with this library's spans and
the SDK's.
"""

from typing import Final, Protocol, runtime_checkable

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext

STAND_IN: Final = "linkspan.stand_in"
"""Attribute, true, of the link from a marker to the span that it announces. Where that span never came,
the marker stands where it would have stood: what names it as parent belongs below the marker."""


@runtime_checkable
class _Readable(Protocol):
    """What this library's spans and the SDK's show, and the API's do not."""

    @property
    def name(self) -> str: ...

    @property
    def parent(self) -> SpanContext | None: ...

    @property
    def start_time(self) -> int | None: ...


def export_start(tracer: trace.Tracer, span: trace.Span) -> bool:
    """Send a marker that a span has started, for one that will be open for long.

    The marker is an INTERNAL span named "NAME started", without a duration, at the start of the span
    and beside it, so below the same parent; below the span itself where that is the root, for a trace
    has one root. A link with the attribute ``linkspan.stand_in`` names the span.

    It leaves with the next batch; ``LeanTracerProvider.export_soon`` has that sent at once.

    Args:
        tracer: starts the marker; best the one that started the span.
        span: any. One that is not sampled, has ended, or does not show its name and start gets none.

    Returns:
        Whether a marker was made.
    """
    context = span.get_span_context()
    if not (span.is_recording() and context.trace_flags.sampled and isinstance(span, _Readable)):
        return False
    beside = trace.set_span_in_context(NonRecordingSpan(span.parent or context), Context())
    marker = tracer.start_span(
        f"{span.name} started",
        beside,
        links=[Link(context, {STAND_IN: True})],
        start_time=span.start_time,
    )
    marker.end(span.start_time)
    return True
