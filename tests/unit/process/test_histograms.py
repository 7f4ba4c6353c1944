"""Lean histograms: what they count, beside what the SDK counts."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    MetricsData,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from linkspan_process.metrics.histograms import LeanHistogram, LeanMeterProvider, Seen
from linkspan_tracing import LeanTracerProvider

BOUNDS = (0.01, 0.1, 1.0)
values = st.one_of(st.floats(0, 2), st.sampled_from(BOUNDS), st.integers(0, 3))
records = st.lists(st.tuples(values, st.dictionaries(st.sampled_from("ab"), st.integers(0, 2))))


def histogram(**more: bool) -> LeanHistogram:
    return LeanHistogram("h", "s", "words", BOUNDS, **more)


def points(made: LeanHistogram, seen: Seen | None = None) -> list[HistogramDataPoint]:
    metric = made.collect(seen)
    if metric is None:
        return []
    assert isinstance(metric.data, Histogram)
    return list(metric.data.data_points)


def order(data: HistogramDataPoint) -> str:
    return str(sorted((data.attributes or {}).items()))


def plain(data: HistogramDataPoint) -> tuple[object, ...]:
    return (
        sorted((data.attributes or {}).items()),
        data.count,
        pytest.approx(data.sum),
        tuple(data.bucket_counts),
        tuple(data.explicit_bounds),
        data.min,
        data.max,
    )


@settings(deadline=None)
@given(records)
def test_it_counts_as_the_sdk_does(recorded: list[tuple[float, dict[str, int]]]) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    theirs = provider.get_meter("m").create_histogram(
        "h", explicit_bucket_boundaries_advisory=BOUNDS
    )
    ours = histogram()
    for value, attributes in recorded:
        theirs.record(value, attributes)
        ours.record(value, attributes)
    data = reader.get_metrics_data()
    expected = [
        point
        for of_resource in (data.resource_metrics if data else ())
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
        for point in metric.data.data_points
        if isinstance(point, HistogramDataPoint)
    ]
    assert [plain(each) for each in sorted(points(ours), key=order)] == [
        plain(each) for each in sorted(expected, key=order)
    ]


def test_the_order_of_attributes_makes_no_difference() -> None:
    made = histogram()
    made.record(1, {"a": 1, "b": 2})
    made.record(1, {"b": 2, "a": 1})
    (point,) = points(made)
    assert point.count == 2


def test_a_negative_value_is_not_counted() -> None:
    made = histogram()
    made.record(-1.0)
    assert points(made) == []


def test_differences_are_what_has_come_since() -> None:
    made, seen = histogram(), Seen()
    made.record(0.05)
    (first,) = points(made, seen)
    assert points(made, seen) == []
    made.record(0.5)
    made.record(0.7)
    (second,) = points(made, seen)
    assert (first.count, second.count) == (1, 2)
    assert second.sum == pytest.approx(1.2)
    assert second.start_time_unix_nano == first.time_unix_nano
    assert (second.min, second.max) == (0.5, 0.7)
    assert points(made)[0].count == 3


def test_the_exemplar_of_a_bucket_is_the_first_sampled_span_after_a_reading() -> None:
    tracer = LeanTracerProvider(Resource({})).get_tracer("t")
    made = histogram()
    spans = [tracer.start_span(name) for name in "abc"]
    for span in spans[:2]:
        made.record(0.5, context=trace.set_span_in_context(span))
    made.record(0.5, context=Context())
    (point,) = points(made)
    assert [each.span_id for each in point.exemplars] == [spans[0].get_span_context().span_id]
    made.record(0.5, context=trace.set_span_in_context(spans[2]))
    (point,) = points(made)
    assert [each.span_id for each in point.exemplars] == [spans[2].get_span_context().span_id]
    assert [each.trace_id for each in point.exemplars] == [spans[2].get_span_context().trace_id]


def test_a_span_that_is_not_sampled_is_no_exemplar() -> None:
    made, asleep = histogram(), histogram(exemplars=False)
    dropped = NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(0)))
    sampled = NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(1)))
    made.record(0.5, context=trace.set_span_in_context(dropped))
    asleep.record(0.5, context=trace.set_span_in_context(sampled))
    assert [point.exemplars for each in (made, asleep) for point in points(each)] == [[], []]


def test_too_many_combinations_of_attributes_are_counted_together() -> None:
    made = histogram()
    for number in range(2500):
        made.record(1, {"id": number})
    counted = points(made)
    assert len(counted) == 2000
    (over,) = [each for each in counted if each.attributes == {"otel.metric.overflow": True}]
    assert over.count == 501


def test_threads_lose_no_value() -> None:
    made = histogram()

    def record() -> None:
        for _ in range(2000):
            made.record(0.5, {"a": 1})

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (point,) = points(made)
    assert (point.count, sum(point.bucket_counts)) == (8000, 8000)


def test_the_provider_adds_its_histograms_to_what_the_sdk_has() -> None:
    reader = InMemoryMetricReader()
    behind = MeterProvider([reader], Resource({"a": "b"}), shutdown_on_exit=False)
    provider = LeanMeterProvider(behind)
    meter = provider.get_meter("m")
    made = meter.create_histogram("h", explicit_bucket_boundaries_advisory=BOUNDS)
    assert meter.create_histogram("h") is made
    made.record(1)
    meter.create_counter("c").add(1)
    data = reader.get_metrics_data()
    assert isinstance(data, MetricsData)
    (of_resource,) = provider.with_histograms(data, None).resource_metrics
    assert of_resource.resource.attributes == {"a": "b"}
    named = {metric.name for scope in of_resource.scope_metrics for metric in scope.metrics}
    assert named == {"h", "c"}
