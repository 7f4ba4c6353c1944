"""From the end of a span to a receiver, whatever the receiver does."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from tests.requirements import requirement
from tests.support.waiting import BUSY_SECONDS, PATIENCE_SECONDS, wait_until
from tests.tracing.providers import environ_of
from tests.tracing.receivers import GrpcAnswers, HttpAnswers, grpc_receiver, http_receiver

from linkspan_propagation.testing import OtlpReceiver
from linkspan_tracing import LeanTracerProvider, export_start, provider_from_env, sending
from linkspan_tracing.sending import Answer

RESOURCE = Resource({"service.name": "s"})
LATER = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}


@contextmanager
def provider_of(
    url: str, protocol: str = "http/protobuf", **more: str
) -> Generator[LeanTracerProvider]:
    provider = provider_from_env(environ_of(url, protocol, **more), RESOURCE)
    yield provider
    provider.shutdown(1000)


def make_spans(provider: LeanTracerProvider, count: int) -> None:
    tracer = provider.get_tracer("t")
    for number in range(count):
        tracer.start_span(f"s{number}", Context()).end()


@pytest.fixture
def dead_url() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


# --- arriving -----------------------------------------------------------------------------------


def test_spans_arrive_over_grpc_without_being_asked_for() -> None:
    with OtlpReceiver() as receiver:
        provider = provider_from_env(receiver.environ(), RESOURCE)
        with provider.get_tracer("t").start_as_current_span("root") as root:
            make_spans(provider, 3)
        spans = receiver.wait_for(lambda spans: len(spans) == 4)
        assert spans[-1].span_id == f"{root.get_span_context().span_id:016x}"
        assert spans[-1].service_name == "s"
        assert spans[-1].resource["telemetry.sdk.name"] == "linkspan_tracing"
        assert provider.shutdown()
        assert provider.dropped_spans() == {}


def test_a_full_batch_does_not_wait() -> None:
    more = {**LATER, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"}
    with http_receiver() as receiver, provider_of(receiver.url, **more) as provider:
        make_spans(provider, 25)
        receiver.received.wait_for(lambda: len(receiver.received.spans()) == 20)
        sizes = [
            len(request.resource_spans[0].scope_spans[0].spans)
            for request in receiver.received.requests
        ]
        assert sizes == [10, 10]
        assert provider.force_flush()
        assert len(receiver.received.spans()) == 25


def test_a_large_batch_travels_in_several_requests() -> None:
    with OtlpReceiver() as receiver:
        provider = provider_from_env({**receiver.environ(), **LATER}, RESOURCE)
        for _ in range(8):
            provider.get_tracer("t").start_span("s", attributes={"k": "x" * 1_000_000}).end()
        assert provider.force_flush()
        assert len(receiver.spans()) == 8
        assert provider.shutdown()
        assert provider.dropped_spans() == {}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_headers_and_compression_are_sent(protocol: str) -> None:
    more = {
        "OTEL_EXPORTER_OTLP_HEADERS": "x-all=1",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-key=a%20b,x-two=2",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    }
    receive: Any = grpc_receiver if protocol == "grpc" else http_receiver
    with receive() as receiver, provider_of(receiver.url, protocol, **more) as provider:
        make_spans(provider, 1)
        assert provider.force_flush()
        (headers,) = receiver.received.headers
        assert (headers["x-key"], headers["x-two"]) == ("a b", "2")
        assert "x-all" not in headers
        assert "linkspan-tracing" in headers["user-agent"]
        if protocol != "grpc":
            assert headers["content-encoding"] == "gzip"
            assert headers["content-type"] == "application/x-protobuf"
            assert headers["path"] == "/v1/traces"
        assert [span.name for span in receiver.received.spans()] == ["s0"]


def test_a_connection_that_the_receiver_closed_meanwhile_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Such a pause that there is no time for one: what failed was sent again at once, or is lost.
    monkeypatch.setattr(sending, "_FIRST_PAUSE_SECONDS", 1000.0)
    answers = HttpAnswers(hangs_up=True)
    with http_receiver(answers) as receiver, provider_of(receiver.url, **LATER) as provider:
        for number in range(1, 4):
            make_spans(provider, 1)
            assert provider.force_flush()
            assert len(receiver.received.spans()) == number
        assert provider.dropped_spans() == {}


# --- a receiver in trouble ----------------------------------------------------------------------


@requirement("tracing.retry")
def test_what_http_cannot_take_now_is_sent_again() -> None:
    answers = HttpAnswers(statuses=(503, 429), headers={"retry-after": "0"})
    with http_receiver(answers) as receiver, provider_of(receiver.url) as provider:
        make_spans(provider, 1)
        assert provider.force_flush()
        assert receiver.received.attempts == 3
        assert len(receiver.received.spans()) == 1
        assert provider.dropped_spans() == {}


@requirement("tracing.retry")
def test_what_http_refuses_is_lost_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    answers = HttpAnswers(statuses=(400,))
    with http_receiver(answers) as receiver, provider_of(receiver.url) as provider:
        make_spans(provider, 3)
        assert provider.force_flush()
        assert receiver.received.attempts == 1
        assert provider.dropped_spans() == {"export_failed": 3}
        make_spans(provider, 1)
        assert provider.force_flush()
        assert len(receiver.received.spans()) == 1
    assert "lost 3 spans: export_failed 3 (HTTP 400 Bad Request)" in caplog.text


def asking_to_wait(code: grpc.StatusCode, *, say: bool) -> GrpcAnswers:
    """Refuse the first call, and say, or not, to come again after 10 ms."""
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=Duration(nanos=10_000_000)))
    status = Status(code=code.value[0], details=[detail])

    def answer(context: grpc.ServicerContext, number: int) -> None:
        if number == 0:
            if say:
                context.set_trailing_metadata(
                    (("grpc-status-details-bin", status.SerializeToString()),)
                )
            context.abort(code, "not now")

    return GrpcAnswers(answer)


@requirement("tracing.retry")
@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
def test_what_grpc_cannot_take_now_is_sent_again(code: grpc.StatusCode) -> None:
    answers = asking_to_wait(code, say=True)
    with grpc_receiver(answers) as receiver, provider_of(receiver.url, "grpc") as provider:
        make_spans(provider, 1)
        assert provider.force_flush()
        assert receiver.received.attempts == 2
        assert provider.dropped_spans() == {}


@requirement("tracing.retry")
@pytest.mark.parametrize(
    "code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.PERMISSION_DENIED]
)
def test_what_grpc_refuses_for_good_is_lost_and_counted(code: grpc.StatusCode) -> None:
    answers = asking_to_wait(code, say=False)
    with grpc_receiver(answers) as receiver, provider_of(receiver.url, "grpc") as provider:
        make_spans(provider, 2)
        assert provider.force_flush()
        assert receiver.received.attempts == 1
        assert provider.dropped_spans() == {"export_failed": 2}


REJECTED = ExportTraceServiceResponse(
    partial_success=ExportTracePartialSuccess(rejected_spans=2, error_message="too old")
)


def reject_two(context: grpc.ServicerContext, number: int) -> ExportTraceServiceResponse:
    del context, number
    return REJECTED


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_spans_that_are_rejected_of_a_batch_are_counted(
    protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    receive: Any = grpc_receiver if protocol == "grpc" else http_receiver
    answers = (
        GrpcAnswers(reject_two)
        if protocol == "grpc"
        else HttpAnswers(body=REJECTED.SerializeToString())
    )
    with receive(answers) as receiver, provider_of(receiver.url, protocol) as provider:
        make_spans(provider, 3)
        assert provider.force_flush()
        assert provider.dropped_spans() == {"rejected": 2}
    assert "lost 2 spans: rejected 2 (too old)" in caplog.text


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_receiver_that_is_not_there_costs_spans_after_the_timeout(
    protocol: str, dead_url: str
) -> None:
    with provider_of(dead_url, protocol, OTEL_EXPORTER_OTLP_TIMEOUT="0.2") as provider:
        make_spans(provider, 3)
        assert provider.force_flush(30_000)
        assert provider.dropped_spans() == {"export_failed": 3}


@requirement("tracing.bounded")
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_receiver_that_says_nothing_delays_nobody_and_the_end_only_so_far(protocol: str) -> None:
    gate, held = threading.Event(), threading.Event()

    def hold(context: grpc.ServicerContext, number: int) -> None:
        held.set()
        gate.wait(PATIENCE_SECONDS)

    receive: Any = grpc_receiver if protocol == "grpc" else http_receiver
    answers = GrpcAnswers(hold) if protocol == "grpc" else HttpAnswers(gate=gate)
    sizes = {"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"}
    try:
        with receive(answers) as receiver:
            provider = provider_from_env(environ_of(receiver.url, protocol, **sizes), RESOURCE)
            make_spans(provider, 10)
            if protocol == "grpc":
                assert held.wait(PATIENCE_SECONDS)
            else:
                receiver.received.wait_for(lambda: receiver.received.attempts == 1)
            assert not provider.force_flush(50)
            begin = time.monotonic()
            make_spans(provider, 5000)
            assert time.monotonic() - begin < BUSY_SECONDS
            assert provider.dropped_spans()["queue_full"] == 4900
            begin = time.monotonic()
            assert not provider.shutdown(300)
            assert time.monotonic() - begin < BUSY_SECONDS
            gate.set()
            # What was on its way is counted as soon as its thread is told.
            wait_until(lambda: sum(provider.dropped_spans().values()) == 5010, "all to be counted")
            assert provider.dropped_spans()["shutdown"] == 100
            make_spans(provider, 1)
            assert provider.dropped_spans()["shutdown"] == 101
    finally:
        gate.set()


def test_a_shutdown_sends_what_is_left_and_a_second_says_the_same() -> None:
    with http_receiver() as receiver, provider_of(receiver.url, **LATER) as provider:
        make_spans(provider, 1500)
        assert provider.shutdown()
        assert len(receiver.received.spans()) == 1500
        assert provider.shutdown()
        assert provider.dropped_spans() == {}
        assert provider.force_flush()


def test_a_shutdown_does_not_wait_to_send_again(
    dead_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_FIRST_PAUSE_SECONDS", 20.0)
    more = {**LATER, "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
    with provider_of(dead_url, **more) as provider:
        make_spans(provider, 1)
        begin = time.monotonic()
        assert provider.shutdown(40_000)
        assert time.monotonic() - begin < BUSY_SECONDS
        assert provider.dropped_spans() == {"export_failed": 1}


@requirement("tracing.losses")
def test_a_span_that_cannot_be_encoded_costs_itself(caplog: pytest.LogCaptureFixture) -> None:
    with http_receiver() as receiver, provider_of(receiver.url) as provider:
        tracer = provider.get_tracer("t")
        tracer.start_span("before 1970", start_time=-1).end()
        tracer.start_span("a kind that is none", kind=7).end()  # type: ignore[arg-type]
        tracer.start_span("good").end()
        assert provider.force_flush()
        assert [span.name for span in receiver.received.spans()] == ["good"]
        assert provider.dropped_spans() == {"encoding_failed": 2}
    assert "lost 1 span: encoding_failed 1" in caplog.text


class Exploding:
    """A way to nowhere that breaks its promise."""

    def __init__(self) -> None:
        self.requests = 0

    def send(self, request: bytes, timeout_seconds: float) -> Answer:
        del request, timeout_seconds
        self.requests += 1
        if self.requests == 1:
            raise RuntimeError("boom")
        return Answer(taken=True)

    def close(self) -> None:
        pass


def test_a_way_that_explodes_costs_its_batch_and_not_the_thread() -> None:
    sender = Exploding()
    provider = LeanTracerProvider(RESOURCE, sender=sender)
    for _ in range(2):
        make_spans(provider, 3)
        assert provider.force_flush()
    assert sender.requests == 2
    assert provider.dropped_spans() == {"export_failed": 3}
    assert provider.shutdown()


@requirement("tracing.losses")
def test_losses_are_a_metric() -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    with http_receiver(HttpAnswers(statuses=(400,))) as receiver:
        environ = environ_of(receiver.url, "http/protobuf")
        provider = provider_from_env(environ, RESOURCE, meter_provider=meters)
        make_spans(provider, 3)
        provider.shutdown()
        make_spans(provider, 2)
    data = reader.get_metrics_data()
    assert data is not None
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    assert metric.name == "linkspan.telemetry.dropped_spans"
    points: Any = metric.data.data_points
    assert {point.attributes["reason"]: point.value for point in points} == {
        "export_failed": 3,
        "shutdown": 2,
    }
    meters.shutdown()


@requirement("tracing.losses")
def test_losses_are_logged_at_once_and_then_seldom(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with http_receiver(HttpAnswers(statuses=(400,) * 5)) as receiver:
        with provider_of(receiver.url) as provider:
            for _ in range(5):
                make_spans(provider, 2)
                assert provider.force_flush()
        lines = [r.message for r in caplog.records if r.name == "linkspan_tracing.losses"]
    assert [line.split(" (")[0] for line in lines] == [
        "lost 2 spans: export_failed 2",
        "lost 8 spans: export_failed 8",
    ]


# --- start markers ------------------------------------------------------------------------------


def test_a_start_marker_is_sent_while_its_span_is_open() -> None:
    with OtlpReceiver() as receiver:
        provider = provider_from_env({**receiver.environ(), **LATER}, RESOURCE)
        tracer = provider.get_tracer("t")
        current = tracer.start_as_current_span
        with current("root"), current("long") as long:
            assert export_start(tracer, long)
            provider.export_soon()
            (marker,) = receiver.wait_for(lambda spans: len(spans) == 1)
        assert provider.shutdown()
        root = receiver.spans()[-1]
        assert (root.name, root.parent_span_id) == ("root", "")
        assert marker.name == "long started"
        assert marker.parent_span_id == root.span_id
        assert marker.trace_id == root.trace_id
        assert marker.start_unix_nanos == marker.end_unix_nanos
        assert marker.attributes == {
            "linkspan.started.span_id": f"{long.get_span_context().span_id:016x}",
            "linkspan.started.kind": "INTERNAL",
        }


def test_the_marker_of_a_root_is_below_it() -> None:
    with OtlpReceiver() as receiver:
        provider = provider_from_env(receiver.environ(), RESOURCE)
        tracer = provider.get_tracer("t")
        with tracer.start_as_current_span("root") as root:
            assert export_start(tracer, root)
        assert provider.shutdown()
        marker = receiver.spans()[0]
        assert marker.parent_span_id == f"{root.get_span_context().span_id:016x}"


def test_a_span_that_is_not_recorded_has_no_marker() -> None:
    tracer = LeanTracerProvider(RESOURCE).get_tracer("t")
    ended = tracer.start_span("s")
    ended.end()
    for span in (ended, trace.INVALID_SPAN):
        assert not export_start(tracer, span)


# --- instrumentation ----------------------------------------------------------------------------


def test_exporting_is_not_traced_itself() -> None:
    child = Path(__file__).with_name("instrumented_child.py")
    with OtlpReceiver() as receiver:
        environ = {**os.environ, **receiver.environ()}
        subprocess.run([sys.executable, child], env=environ, check=True, timeout=50)
        assert [span.name for span in receiver.spans()] == ["ours"]
