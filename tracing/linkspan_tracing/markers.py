"""Start markers: that a long operation began, sent while it still runs.

A span is sent when it ends, so a process that is killed takes its open spans with it: the spans below
them are left without a parent, and of the operation itself nothing is known. OTLP knows no span that is
sent twice; backends drop, double or mix up spans of one id. So a marker is a span of its own.

Owns what a marker looks like; ``open_spans`` says when one is due. Uses the API only, so that it is the
same with this library's spans and the SDK's.

A marker is one more span beside the operation: any backend shows it and finds it by its attributes. Who
knows the two attributes below puts it in the place of a span that never came, and leaves it out where
that one is there: ``linkspan_propagation.testing`` and ``linkspan_traces`` do.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, runtime_checkable

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind
from opentelemetry.util.types import AnyValue

STARTED_SPAN_ID: Final = "linkspan.started.span_id"
"""Attribute of a marker: the id of the span that has begun, in 16 hex digits."""

STARTED_KIND: Final = "linkspan.started.kind"
"""Attribute of a marker: the kind of that span as OTLP calls it, such as ``SERVER``."""

SUFFIX: Final = " started"
"""What the name of a marker has behind that of its span."""


@runtime_checkable
class _Readable(Protocol):
    """What this library's spans and the SDK's show, and the API's do not."""

    @property
    def name(self) -> str: ...

    @property
    def parent(self) -> SpanContext | None: ...

    @property
    def kind(self) -> SpanKind: ...

    @property
    def start_time(self) -> int | None: ...

    @property
    def attributes(self) -> Mapping[str, AnyValue] | None: ...

    @property
    def links(self) -> Sequence[Link]: ...


def export_start(tracer: trace.Tracer, span: trace.Span) -> bool:
    """Send a marker that a span has started, for one that will be open for long.

    The marker is an INTERNAL span named "NAME started", without a duration, at the start of the span
    and beside it, so below the same parent; below the span itself where that is the root, for a trace
    has one root. It has the attributes and links that the span has by now, so that the operation can
    be found by them, and says by two more which span it stands for.

    It leaves with the next batch; ``LeanTracerProvider.export_soon`` has that sent at once.

    Args:
        tracer: starts the marker; of the provider that made the span.
        span: any. One that is not sampled, has ended, or does not show its name and start gets none.

    Returns:
        Whether a marker was made.
    """
    own = span.get_span_context()
    if not (span.is_recording() and own.trace_flags.sampled and isinstance(span, _Readable)):
        return False
    above = span.parent or own
    # With the span's own flags and state: its parent may not be sampled where it is.
    beside = SpanContext(
        own.trace_id, above.span_id, above.is_remote, own.trace_flags, own.trace_state
    )
    marker = tracer.start_span(
        span.name + SUFFIX,
        trace.set_span_in_context(NonRecordingSpan(beside), Context()),
        attributes={
            **_attributes_of(span),
            STARTED_SPAN_ID: f"{own.span_id:016x}",
            STARTED_KIND: span.kind.name,
        },
        links=list(span.links),
        start_time=span.start_time,
    )
    marker.end(span.start_time)
    return True


def _attributes_of(span: _Readable) -> dict[str, AnyValue]:
    try:
        return dict(span.attributes or {})
    except RuntimeError:  # another thread sets one at this moment: the marker does without
        return {}
