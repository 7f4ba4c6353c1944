"""Spans as OTLP in protobuf, written by hand.

Owns the bytes of ``ExportTraceServiceRequest``
(https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto);
each number below is a field of it. Above lies the exporter's thread, which alone uses an encoder; below
lie ``span`` (what is encoded) and ``wire`` (values and attributes).

Invariant: a receiver reads what the exporter of OpenTelemetry's SDK would have sent for the same span.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, StatusCode
from opentelemetry.util.types import AnyValue

from linkspan_tracing.limits import Attributes, bounded
from linkspan_tracing.span import LeanSpan, SpanEvent, SpanLink
from linkspan_tracing.wire import AttributeEncoder, field, size

_KINDS: Final = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
_HEADS: Final = {kind: bytes((0x30, number)) for kind, number in _KINDS.items()}

# Span: trace_id = 1 and span_id = 2; parent_span_id = 4; start and end times = 7 and 8; flags = 16.
_IDS: Final = struct.Struct(">2sQQ2sQ").pack
_PARENT: Final = struct.Struct(">2sQ").pack
_TIMES: Final = struct.Struct("<BQBQ").pack
_TIME: Final = struct.Struct("<BQ").pack
_LOW: Final = (1 << 64) - 1

_LOCAL: Final = b"\x85\x01" + struct.pack("<I", 0x100)
_REMOTE: Final = b"\x85\x01" + struct.pack("<I", 0x300)
"""SpanFlags: that it is known whether the parent is remote, and that it is."""


class SpanEncoder:
    """Encodes spans; for one thread.

    It remembers encoded names and short values, a few thousand of them, for they come again and again.
    """

    def __init__(self) -> None:
        self._attributes = AttributeEncoder(b"\x4a")
        self._of_events = AttributeEncoder(b"\x1a")
        self._of_links = AttributeEncoder(b"\x22")
        self._names: dict[str, bytes] = {}

    def span(self, span: LeanSpan) -> bytes:
        """Encode one span, without the tag and size before it.

        Raises:
            Exception: a field has a value that OTLP cannot carry, such as a start before 1970.
        """
        context = span.context
        parent = span.parent
        trace_id = context.trace_id
        parts = [_IDS(b"\x0a\x10", trace_id >> 64, trace_id & _LOW, b"\x12\x08", context.span_id)]
        if context.trace_state:
            parts.append(field(b"\x1a", context.trace_state.to_header()))
        if parent is not None:
            parts.append(_PARENT(b"\x22\x08", parent.span_id))
        parts += (
            self._name(span.name),
            _HEADS[span.kind],
            _TIMES(0x39, span.start_time, 0x41, span.end_time or 0),
        )
        dropped = span.attributes_dropped
        if span.attributes_kept:
            dropped += self._attributes.add(span.attributes_kept, parts)
        if dropped:
            parts.append(b"\x50" + size(dropped))
        if span.events_kept:
            self._events(span.events_kept, parts)
        if span.events_dropped:
            parts.append(b"\x60" + size(span.events_dropped))
        if span.links_kept:
            self._links(span.links_kept, parts)
        if span.links_dropped:
            parts.append(b"\x70" + size(span.links_dropped))
        status = span.status
        if status.status_code is StatusCode.UNSET:
            parts.append(b"\x7a\x00")
        else:
            body = field(b"\x12", status.description) if status.description else b""
            body += bytes((0x18, status.status_code.value))
            parts += (b"\x7a", size(len(body)), body)
        parts.append(_REMOTE if parent is not None and parent.is_remote else _LOCAL)
        return b"".join(parts)

    def _name(self, name: str) -> bytes:
        try:
            return self._names[name]
        except KeyError:
            pass
        encoded = field(b"\x2a", name)
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        if len(encoded) <= _LONGEST_NAME:
            self._names[name] = encoded
        return encoded

    def _events(self, events: Iterable[SpanEvent], parts: list[bytes]) -> None:
        for event in tuple(events):
            body = [_TIME(0x09, event.time_nanos), field(b"\x12", event.name)]
            dropped = event.dropped + self._of_events.add(event.attributes, body)
            if dropped:
                body.append(b"\x20" + size(dropped))
            encoded = b"".join(body)
            parts += (b"\x5a", size(len(encoded)), encoded)

    def _links(self, links: Iterable[SpanLink], parts: list[bytes]) -> None:
        for link in tuple(links):
            context = link.context
            trace_id = context.trace_id
            body = [
                _IDS(b"\x0a\x10", trace_id >> 64, trace_id & _LOW, b"\x12\x08", context.span_id)
            ]
            dropped = link.dropped + self._of_links.add(link.attributes, body)
            if dropped:
                body.append(b"\x28" + size(dropped))
            body.append(_link_flags(context))
            encoded = b"".join(body)
            parts += (b"\x6a", size(len(encoded)), encoded)


_MOST_NAMES: Final = 1024
_LONGEST_NAME: Final = 256


def _link_flags(context: SpanContext) -> bytes:
    # The same words in a link, in its field 6.
    return b"\x35" + (_REMOTE if context.is_remote else _LOCAL)[2:]


def _clean(attributes: Mapping[str, AnyValue]) -> Attributes:
    # The SDK keeps values of classes of their own, such as an enumeration's.
    return bounded(attributes, len(attributes), None)[0]


def encode_resource(resource: Resource) -> bytes:
    """Encode ``ResourceSpans.resource``, with its tag and size, and the schema's after the spans."""
    body: list[bytes] = []
    AttributeEncoder(b"\x0a").add(_clean(resource.attributes), body)
    return field(b"\x0a", b"".join(body))


def encode_scope(scope: InstrumentationScope) -> bytes:
    """Encode ``ScopeSpans.scope``, with its tag and size."""
    body: list[bytes] = []
    if scope.name:
        body.append(field(b"\x0a", scope.name))
    if scope.version:
        body.append(field(b"\x12", scope.version))
    AttributeEncoder(b"\x1a").add(_clean(scope.attributes or {}), body)
    return field(b"\x0a", b"".join(body))
