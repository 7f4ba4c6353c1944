"""A lean span as OpenTelemetry's SDK would show it.

Pure. Above lie the processors; imported only where there is one, or where somebody reads the events or
links of a span.
"""

from typing import TYPE_CHECKING

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link

from linkspan_tracing.limits import Attributes

if TYPE_CHECKING:
    from linkspan_tracing.span import LeanSpan


def readable(span: "LeanSpan") -> ReadableSpan:
    """Return what the SDK hands to a processor when a span has ended; it does not change later."""
    events: BoundedList[Event] = BoundedList(None)
    events.extend(events_of(span))
    events.dropped = span.events_dropped
    links: BoundedList[Link] = BoundedList(None)
    links.extend(links_of(span))
    links.dropped = span.links_dropped
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_bounded(span.attributes_kept, span.attributes_dropped),
        events=events,
        links=links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def events_of(span: "LeanSpan") -> tuple[Event, ...]:
    """Return its events."""
    return tuple(
        Event(event.name, _bounded(event.attributes, event.dropped), event.time_nanos)
        for event in span.events_kept or ()
    )


def links_of(span: "LeanSpan") -> tuple[Link, ...]:
    """Return its links."""
    return tuple(
        Link(link.context, _bounded(link.attributes, link.dropped))
        for link in span.links_kept or ()
    )


def _bounded(attributes: Attributes, dropped: int) -> BoundedAttributes:
    kept = BoundedAttributes(attributes=attributes)
    kept.dropped = dropped
    return kept
