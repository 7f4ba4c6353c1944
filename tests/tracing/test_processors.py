"""Span processors of the SDK that somebody adds to the global provider."""

import json
from io import StringIO
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, AlwaysRecordSampler
from opentelemetry.trace import Link, SpanContext, StatusCode
from tests.requirements import requirement

from linkspan_tracing import LeanTracerProvider, SpanLimits


class Recording(SpanProcessor):
    def __init__(self) -> None:
        self.started: list[Any] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        span.set_attribute("seen", True)
        self.started.append((span.name, span.parent, parent_context))

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


class Raising(SpanProcessor):
    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        del span, parent_context
        raise RuntimeError("start")

    def on_end(self, span: ReadableSpan) -> None:
        del span
        raise RuntimeError("end")

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        del timeout_millis
        raise RuntimeError("flush")

    def shutdown(self) -> None:
        raise RuntimeError("shutdown")


def test_a_processor_reads_the_span_as_the_sdk_would_show_it() -> None:
    provider = LeanTracerProvider(
        Resource({"service.name": "s"}), limits=SpanLimits(attributes=2, events=1, links=1)
    )
    processor = Recording()
    provider.add_span_processor(processor)
    link = Link(SpanContext(1, 2, False), {"l": 1})
    with provider.get_tracer("scope", "1").start_as_current_span("s", links=[link, link]) as span:
        span.set_attributes({"a": 1, "b": 2})
        span.add_event("one")
        span.add_event("two", {"e": 1})
        span.set_status(StatusCode.ERROR, "why")
    assert [started[:2] for started in processor.started] == [("s", None)]
    (ended,) = processor.ended
    assert ended.attributes == {"a": 1, "b": 2}
    assert (ended.dropped_attributes, ended.dropped_events, ended.dropped_links) == (1, 1, 1)
    assert [(event.name, dict(event.attributes or {})) for event in ended.events] == [
        ("two", {"e": 1})
    ]
    assert [dict(link.attributes or {}) for link in ended.links] == [{"l": 1}]
    assert ended.status.description == "why"
    assert ended.instrumentation_scope is not None
    assert ended.instrumentation_scope.name == "scope"
    assert ended.resource.attributes["service.name"] == "s"
    assert ended.context == span.get_span_context()


def test_exporters_of_the_sdk_take_lean_spans() -> None:
    provider = LeanTracerProvider(Resource({}))
    out, memory = StringIO(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=out)))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("t").start_span("shown", attributes={"k": (1, 2)}).end()
    assert json.loads(out.getvalue())["name"] == "shown"
    assert [span.name for span in memory.get_finished_spans()] == ["shown"]
    assert provider.force_flush()
    assert provider.shutdown()


@requirement("tracing.harmless")
def test_a_processor_that_raises_costs_itself_a_span_and_others_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider = LeanTracerProvider(Resource({}))
    after = Recording()
    provider.add_span_processor(Raising())
    provider.add_span_processor(after)
    with provider.get_tracer("t").start_as_current_span("s"):
        pass
    assert [span.name for span in after.ended] == ["s"]
    assert provider.dropped_spans() == {"processor_failed": 2}
    assert not provider.force_flush()
    assert provider.shutdown()


def test_a_span_that_is_recorded_but_not_sampled_is_for_processors_only() -> None:
    provider = LeanTracerProvider(Resource({}), sampler=AlwaysRecordSampler(ALWAYS_OFF))
    processor, memory = Recording(), InMemorySpanExporter()
    provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("t").start_span("s").end()
    assert [span.name for span in processor.ended] == ["s"]
    assert memory.get_finished_spans() == ()
