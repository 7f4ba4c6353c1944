"""Spans as they were exported: what a collector would know, in plain values.

Owns the translation from OTLP. Pure but for the protobuf messages it reads. ``receiver`` and
``trees`` lie above. Source: https://opentelemetry.io/docs/specs/otlp/ and the comments of its
``opentelemetry/proto/trace/v1/trace.proto``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

ExportedScalar: TypeAlias = str | bool | int | float | bytes | None
ExportedValue: TypeAlias = (
    "ExportedScalar | tuple[ExportedValue, ...] | Mapping[str, ExportedValue]"
)
Attributes: TypeAlias = Mapping[str, ExportedValue]


@dataclass(frozen=True, slots=True)
class ExportedEvent:
    """An event of a span.

    Attributes:
        name: such as ``exception``.
        time_unix_nanos: nanoseconds since 1970.
        attributes: by name.
    """

    name: str
    time_unix_nanos: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class ExportedLink:
    """A link from a span to another.

    Attributes:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        attributes: by name.
    """

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class ExportedSpan:
    """A span that arrived at the receiver.

    Attributes:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_span_id: 16 hex digits, or an empty string for no parent.
        name: the span's name.
        kind: ``INTERNAL``, ``SERVER``, ``CLIENT``, ``PRODUCER``, ``CONSUMER`` or ``UNSPECIFIED``.
        start_unix_nanos: nanoseconds since 1970.
        end_unix_nanos: nanoseconds since 1970.
        attributes: by name.
        status_code: ``UNSET``, ``OK`` or ``ERROR``.
        status_message: the description of an ERROR, or an empty string.
        trace_state: the ``tracestate`` of the span, or an empty string.
        events: in order.
        links: in order.
        service_name: ``service.name`` of the resource, or an empty string.
        resource: attributes of the resource, by name.
        scope_name: which library made the span.
        is_open: whether it never came, and its start marker stands in its place, see ``markers``.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    start_unix_nanos: int
    end_unix_nanos: int
    attributes: Attributes
    status_code: str = "UNSET"
    status_message: str = ""
    trace_state: str = ""
    events: tuple[ExportedEvent, ...] = ()
    links: tuple[ExportedLink, ...] = ()
    service_name: str = ""
    resource: Attributes = field(default_factory=dict[str, ExportedValue])
    scope_name: str = ""
    is_open: bool = False


def spans_of(request: ExportTraceServiceRequest) -> Iterator[ExportedSpan]:
    """Yield the spans of one export, in its order."""
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield _span(span, resource, scope_spans.scope.name)


def _span(span: Span, resource: Attributes, scope_name: str) -> ExportedSpan:
    return ExportedSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start_unix_nanos=span.start_time_unix_nano,
        end_unix_nanos=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        status_code=Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
        status_message=span.status.message,
        trace_state=span.trace_state,
        events=tuple(
            ExportedEvent(event.name, event.time_unix_nano, _attributes(event.attributes))
            for event in span.events
        ),
        links=tuple(
            ExportedLink(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes))
            for link in span.links
        ),
        service_name=str(resource.get("service.name", "")),
        resource=resource,
        scope_name=scope_name,
    )


def _attributes(pairs: Iterable[KeyValue]) -> Attributes:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> ExportedValue:
    which = value.WhichOneof("value")
    if which is None:
        return None
    if which == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    if which == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    plain: ExportedScalar = getattr(value, which)
    return plain
