"""Spans that are open for long are told of while they are: by this library's spans and the SDK's."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from tests.requirements import requirement

from linkspan_propagation.testing import (
    ExportedSpan,
    OtlpReceiver,
    assert_one_trace,
    draw_picture,
    draw_tree,
    traces,
    without_markers,
)
from linkspan_tracing import LeanTracerProvider, MarkingProcessor, export_start, provider_from_env
from linkspan_tracing.open_spans import MarkerThread, OpenSpans

RESOURCE = Resource({"service.name": "s"})
OFTEN_SECONDS = 0.02
LATER = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}  # what comes was sent soon, or at the end

both = pytest.mark.parametrize("kind", ["lean", "sdk"])


@contextmanager
def marking(receiver: OtlpReceiver, kind: str) -> Generator[trace.Tracer]:
    provider: LeanTracerProvider | TracerProvider
    if kind == "lean":
        environ = {**receiver.environ(), **LATER}
        provider = provider_from_env(environ, RESOURCE, markers_every_seconds=OFTEN_SECONDS)
    else:
        provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=receiver.endpoint)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=600_000))
        provider.add_span_processor(MarkingProcessor(provider, OFTEN_SECONDS))
    yield provider.get_tracer("t")
    provider.shutdown()


def named(receiver: OtlpReceiver, name: str) -> ExportedSpan:
    """Wait for a span."""
    spans = receiver.wait_for(
        lambda spans: any(span.name == name for span in spans), what=name, timeout_seconds=15
    )
    return next(span for span in spans if span.name == name)


@both
@requirement("tracing.start-marker")
def test_a_span_that_is_open_for_long_is_told_of_once_while_it_is(kind: str) -> None:
    cause = Link(SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1)))
    with OtlpReceiver() as receiver:
        with marking(receiver, kind) as tracer:
            attributes = {"mcp.method.name": "tools/call"}
            long = tracer.start_span(
                "long", None, SpanKind.SERVER, attributes=attributes, links=[cause]
            )
            marker = named(receiver, "long started")
            with trace.use_span(long), tracer.start_as_current_span("longer"):
                named(receiver, "longer started")
            long.end()
        spans = receiver.spans()
    own = f"{long.get_span_context().span_id:016x}"
    assert marker.parent_span_id == own  # a root has nothing beside it
    assert marker.kind == "INTERNAL"
    assert marker.attributes == {
        "mcp.method.name": "tools/call",
        "linkspan.started.span_id": own,
        "linkspan.started.kind": "SERVER",
    }
    assert [link.span_id for link in marker.links] == ["0000000000000008"]
    assert sorted(span.name for span in spans) == [
        "long",
        "long started",
        "longer",
        "longer started",
    ]
    assert [span.name for span in assert_one_trace(spans)] == ["long", "longer"]


@both
def test_what_is_left_of_a_process_that_is_lost_is_one_tree(kind: str) -> None:
    with OtlpReceiver() as receiver, marking(receiver, kind) as tracer:
        root = tracer.start_span("root", None, SpanKind.SERVER)
        with trace.use_span(root):
            middle = tracer.start_span("middle")
        with trace.use_span(middle):
            tracer.start_span("short").end()
        for each in ("root started", "middle started", "short"):
            named(receiver, each)
        left = receiver.spans()  # all that would be there if this process were no more
    assert [span.name for span in assert_one_trace(left)] == ["root", "middle", "short"]
    assert draw_picture(left) == (
        "trace 1\n"
        "  root SERVER [s] (began; its end never came)\n"
        "  └─ middle INTERNAL [s] (began; its end never came)\n"
        "     └─ short INTERNAL [s]"
    )
    assert draw_tree(left).count("(began; its end never came)") == 2
    without = [span for span in left if not span.name.endswith(" started")]
    with pytest.raises(AssertionError, match="which never arrived"):
        assert_one_trace(without)


def test_a_span_that_ends_between_two_looks_has_no_marker() -> None:
    table: OpenSpans = {}
    provider = LeanTracerProvider(RESOURCE)
    thread = MarkerThread(table, provider.get_tracer("t"), lambda: None, 3600)
    spans = [provider.get_tracer("t").start_span(name) for name in "ab"]
    table.update({span.get_span_context().span_id: span for span in spans})
    assert thread.look() == 0
    spans[0].end()  # and is still in the table, as when it ends at the moment of the look
    assert thread.look() == 1
    assert table == {}
    assert thread.look() == 0
    thread.stop()


def test_open_spans_leave_the_table_at_their_end() -> None:
    provider = LeanTracerProvider(RESOURCE, markers_every_seconds=3600)
    table: Any = vars(provider)["_open_spans"]
    span = provider.get_tracer("t").start_span("s")
    assert list(table.values()) == [span]
    span.end()
    assert table == {}
    unsampled = provider.get_tracer("t").start_span(
        "s", trace.set_span_in_context(NonRecordingSpan(SpanContext(1, 2, is_remote=True)))
    )
    assert table == {}
    unsampled.end()
    provider.shutdown()


def test_the_marker_is_sampled_as_its_span_is_whatever_the_parent_was() -> None:
    unsampled = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0))
    with OtlpReceiver() as receiver:
        provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=receiver.endpoint)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        beside = trace.set_span_in_context(NonRecordingSpan(unsampled))
        span = provider.get_tracer("t").start_span("s", beside)
        # A provider that heeds parents makes the marker.
        heeding = TracerProvider(shutdown_on_exit=False)
        heeding.add_span_processor(BatchSpanProcessor(exporter))
        assert export_start(heeding.get_tracer("t"), span)
        assert heeding.force_flush()
        (marker,) = receiver.spans()
        assert (marker.name, marker.parent_span_id) == ("s started", "0000000000000002")
        provider.shutdown()
        heeding.shutdown()


@both
def test_no_thread_is_left_behind(kind: str) -> None:
    with OtlpReceiver() as receiver, marking(receiver, kind):
        assert "linkspan-markers" in [thread.name for thread in threading.enumerate()]
    assert "linkspan-markers" not in [thread.name for thread in threading.enumerate()]


def test_a_marker_that_came_last_or_twice_stands_for_its_span_once() -> None:
    marker = exported("b", "a", "s started", **{"linkspan.started.span_id": "0c"})
    child = exported("d", "0c", "child")
    root = exported("a", "", "root")
    for spans in ([marker, child, root], [child, root, marker, marker]):
        (trace_of,) = traces(spans).values()
        assert sorted(span.span_id for span in trace_of) == ["0c", "a", "d"]
    assert without_markers([root, marker, exported("0c", "a", "s")]) == [
        root,
        exported("0c", "a", "s"),
    ]


def exported(span_id: str, parent: str, name: str, **attributes: str) -> ExportedSpan:
    return ExportedSpan("t", span_id, parent, name, "INTERNAL", 1, 2, attributes)
