"""Whatever a span holds, a receiver reads what the SDK's own encoder would have sent."""

import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from tests.requirements import requirement

from linkspan_tracing.encoding import SpanEncoder, encode_resource, encode_scope
from linkspan_tracing.limits import SpanLimits
from linkspan_tracing.losses import Losses
from linkspan_tracing.processors import Processors
from linkspan_tracing.reading import readable
from linkspan_tracing.span import LeanSpan, Origin
from linkspan_tracing.wire import size

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
NANOS = st.integers(0, 2**64 - 1)
SCALARS = (
    TEXTS
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.binary()
    | st.none()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=6)
CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.integers(0, 3).map(TraceFlags),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "x"])).map(
        lambda entries: TraceState(list(entries.items()))
    ),
)


def origin() -> Origin:
    return Origin(
        InstrumentationScope("scope", "1"),
        Resource({}),
        SpanLimits(attributes=4, events=3, links=3, event_attributes=2, link_attributes=2),
        Processors(Losses()),
        list[LeanSpan]().append,
    )


@st.composite
def spans(draw: st.DrawFn) -> LeanSpan:
    span = LeanSpan(
        origin(),
        draw(TEXTS),
        draw(CONTEXTS),
        draw(st.none() | CONTEXTS),
        draw(st.sampled_from(SpanKind)),
        draw(NANOS),
    )
    span.set_attributes(draw(ATTRIBUTES))
    for _ in range(draw(st.integers(0, 5))):
        span.add_event(draw(TEXTS), draw(ATTRIBUTES), draw(NANOS))
    for _ in range(draw(st.integers(0, 5))):
        span.add_link(draw(CONTEXTS), draw(ATTRIBUTES))
    span.set_status(
        draw(st.sampled_from([Status(), Status(StatusCode.OK), Status(StatusCode.ERROR, "é")]))
    )
    span.end(draw(NANOS))
    return span


ENCODER = SpanEncoder()


@requirement("tracing.same-as-sdk")
@given(spans())
def test_a_span_is_encoded_as_by_the_sdk(span: LeanSpan) -> None:
    (resource,) = encode_spans([readable(span)]).resource_spans
    expected = resource.scope_spans[0].spans[0]
    assert Span.FromString(ENCODER.span(span)) == expected
    assert ENCODER.span(span) == ENCODER.span(span)


@requirement("tracing.same-as-sdk")
@given(ATTRIBUTES, TEXTS, TEXTS)
def test_resource_and_scope_are_encoded_as_by_the_sdk(
    attributes: dict[str, Any], name: str, version: str
) -> None:
    nowhere = trace.INVALID_SPAN_CONTEXT
    span: Any = readable(LeanSpan(origin(), "s", nowhere, None, SpanKind.CLIENT, 1))
    resource, scope = Resource(attributes), InstrumentationScope(name, version, None, attributes)
    span._resource, span._instrumentation_scope = resource, scope
    expected = encode_spans([span]).resource_spans[0]
    body = encode_resource(resource)
    read = ExportTraceServiceRequest.FromString(b"\x0a" + size(len(body)) + body).resource_spans[0]
    assert read.resource == expected.resource
    body = encode_scope(scope)
    body = b"\x12" + size(len(body)) + body
    read = ExportTraceServiceRequest.FromString(b"\x0a" + size(len(body)) + body).resource_spans[0]
    assert read.scope_spans[0].scope == expected.scope_spans[0].scope


@pytest.mark.parametrize("number", [0, 1, 127, 128, 2**14 - 1, 2**14, 2**32, 2**64 - 1])
def test_sizes_are_varints(number: int) -> None:
    read = value = 0
    for place, byte in enumerate(size(number)):
        value |= (byte & 0x7F) << 7 * place
        read += 1
    assert value == number
    assert read == max(1, -(-number.bit_length() // 7))


class Tier(enum.StrEnum):
    FRONT = "front"


def test_a_resource_with_a_value_of_its_own_class_is_encoded() -> None:
    resource = Resource({"tier": Tier.FRONT, "list": [Tier.FRONT]})
    body = encode_resource(resource)
    read = ExportTraceServiceRequest.FromString(b"\x0a" + size(len(body)) + body).resource_spans[0]
    assert read.resource.attributes[0].value.string_value == "front"
    assert read.resource.attributes[1].value.array_value.values[0].string_value == "front"


def test_names_that_utf8_cannot_write_are_sent_with_question_marks() -> None:
    span = LeanSpan(origin(), "a\ud800", SpanContext(1, 2, False), None, SpanKind.INTERNAL, 1)
    span.add_event("b\ud800")
    span.set_status(StatusCode.ERROR, "c\ud800")
    span.end()
    read = Span.FromString(SpanEncoder().span(span))
    assert (read.name, read.events[0].name, read.status.message) == ("a?", "b?", "c?")


def test_equal_values_of_different_types_stay_what_they_are() -> None:
    alike: list[Any] = [1, True, 1.0, 0, False, 0.0, "1", b"1"]
    for value in [*alike, *([each, "x"] for each in alike), ["1", "x"], [{"1": 1}], [{"1": True}]]:
        span = LeanSpan(origin(), "s", SpanContext(1, 2, False), None, SpanKind.INTERNAL, 1)
        span.set_attribute("k", value)
        span.end()
        (expected,) = encode_spans([readable(span)]).resource_spans[0].scope_spans[0].spans
        assert Span.FromString(ENCODER.span(span)) == expected


@given(st.lists(ATTRIBUTES, max_size=4))
def test_several_attributes_at_once_are_as_one_after_the_other(given: list[dict[str, Any]]) -> None:
    context = SpanContext(1, 2, False)
    at_once, one_by_one = (
        LeanSpan(origin(), "s", context, None, SpanKind.INTERNAL, 1) for _ in range(2)
    )
    for attributes in given:
        at_once.set_attributes(attributes)
        for key, value in attributes.items():
            one_by_one.set_attribute(key, value)
    assert list(at_once.attributes.items()) == list(one_by_one.attributes.items())
    assert at_once.attributes_dropped == one_by_one.attributes_dropped


def test_what_is_remembered_is_bounded() -> None:
    encoder = SpanEncoder()
    for number in range(10_000):
        span = LeanSpan(
            origin(), f"n{number}", SpanContext(1, 2, False), None, SpanKind.INTERNAL, 1
        )
        span.set_attributes({f"k{number}": f"v{number}", "long": "x" * 1000})
        span.end()
        read = Span.FromString(encoder.span(span))
        assert read.name == f"n{number}"
        assert read.attributes[0].key == f"k{number}"
        assert read.attributes[0].value.string_value == f"v{number}"
    inside: Any = encoder
    assert len(inside._names) <= 1024
    assert len(inside._attributes._keys) <= 2048
    assert len(inside._attributes._known[str]) <= 4096
