"""The receiver gives back what an exporter sent, and says what it has where a wait fails."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from linkspan_propagation.testing import ExportedEvent, ExportedLink, OtlpReceiver


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture
def provider(receiver: OtlpReceiver) -> Iterator[TracerProvider]:
    provider = TracerProvider(
        resource=Resource({"service.name": "sender", "team": "a"}), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=receiver.endpoint)))
    yield provider
    provider.shutdown()


def test_a_span_comes_with_all_that_was_exported(
    receiver: OtlpReceiver, provider: TracerProvider
) -> None:
    tracer = provider.get_tracer("scope")
    with tracer.start_as_current_span("linked") as linked:
        pass
    with tracer.start_as_current_span("parent") as parent:
        span = tracer.start_span(
            "child",
            kind=SpanKind.CLIENT,
            attributes={"text": "a", "number": 1, "real": 0.5, "flag": True, "list": ["x", "y"]},
            links=[Link(linked.get_span_context(), {"why": "test"})],
            start_time=1_000,
        )
        span.add_event("event", {"k": "v"}, timestamp=1_500)
        span.set_status(Status(StatusCode.ERROR, "broken"))
        span.end(2_000)
    assert provider.force_flush()

    child = next(each for each in receiver.spans() if each.name == "child")
    assert child.trace_id == trace.format_trace_id(parent.get_span_context().trace_id)
    assert child.span_id == trace.format_span_id(span.get_span_context().span_id)
    assert child.parent_span_id == trace.format_span_id(parent.get_span_context().span_id)
    assert (child.kind, child.start_unix_nanos, child.end_unix_nanos) == ("CLIENT", 1_000, 2_000)
    assert child.attributes == {
        "text": "a",
        "number": 1,
        "real": 0.5,
        "flag": True,
        "list": ("x", "y"),
    }
    assert (child.status_code, child.status_message) == ("ERROR", "broken")
    assert child.events == (ExportedEvent("event", 1_500, {"k": "v"}),)
    linked_context = linked.get_span_context()
    assert child.links == (
        ExportedLink(
            trace.format_trace_id(linked_context.trace_id),
            trace.format_span_id(linked_context.span_id),
            {"why": "test"},
        ),
    )
    assert child.resource == {"service.name": "sender", "team": "a"}
    assert (child.service_name, child.scope_name) == ("sender", "scope")


def test_a_wait_ends_when_what_is_waited_for_arrives(
    receiver: OtlpReceiver, provider: TracerProvider
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receiver.wait_for, lambda spans: len(spans) == 2, 30, "two spans")
        for name in ("first", "second"):
            provider.get_tracer("scope").start_span(name).end()
            provider.force_flush()
        assert [span.name for span in waiting.result(5)] == ["first", "second"]
    receiver.clear()
    assert receiver.spans() == []


def test_a_wait_that_fails_draws_what_there_is(
    receiver: OtlpReceiver, provider: TracerProvider
) -> None:
    provider.get_tracer("scope").start_span("the only one").end()
    provider.force_flush()
    with pytest.raises(AssertionError) as caught:
        receiver.wait_for(lambda spans: len(spans) == 2, 0.05, "two spans")
    message = str(caught.value)
    assert message.startswith("two spans: did not arrive in 0.05 s")
    assert "the only one INTERNAL [sender]" in message


def test_many_exports_at_once_all_arrive(receiver: OtlpReceiver) -> None:
    def send(number: int) -> None:
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=receiver.endpoint))
        )
        provider.get_tracer("scope").start_span(f"span-{number}").end()
        provider.shutdown()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(24)))
    names = {span.name for span in receiver.spans()}
    assert names == {f"span-{number}" for number in range(24)}
