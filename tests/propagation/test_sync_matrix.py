"""As ``test_matrix``, for sync gRPC: clients and servers of threads."""

import time
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from tests.propagation.matrix_client import Form, remote_parent
from tests.propagation.matrix_sync_client import (
    Case,
    Observed,
    cases,
    complete,
    duplicates,
    future,
    with_call,
)
from tests.propagation.processes import child
from tests.requirements import requirement

from linkspan_propagation import format_traceparent
from linkspan_propagation.testing import ExportedSpan, OtlpReceiver

FORMS: tuple[Form, ...] = (
    "interceptors",
    "traced_channel",
    "recording_interceptors",
    "recording_channel",
)


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def provider(receiver: OtlpReceiver) -> Iterator[TracerProvider]:
    """Where the CLIENT spans of this process go: to the receiver, as the servers' do."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=receiver.endpoint)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10))
    yield provider
    provider.shutdown()


@pytest.fixture(scope="module")
def ports(receiver: OtlpReceiver, provider: TracerProvider) -> Iterator[dict[str, int]]:
    """A server of each form: not traced, traced by an interceptor, traced in full without one."""
    env = {**receiver.environ(), "OTEL_BSP_SCHEDULE_DELAY": "10"}
    with (
        child("matrix_sync_server.py", "bare") as bare,
        child("matrix_sync_server.py", "traced", env=env) as traced,
        child("matrix_sync_server.py", "full", env=env) as full,
    ):
        yield {"bare": int(bare.ready), "traced": int(traced.ready), "full": int(full.ready)}
    assert provider.force_flush()
    kinds: dict[str, list[str]] = {}
    for span in receiver.spans():
        kinds.setdefault(span.trace_id, []).append(span.kind)
    assert {tuple(sorted(found)) for found in kinds.values()} <= {("SERVER",), ("CLIENT", "SERVER")}


@pytest.fixture(scope="module")
def on_bare_grpc() -> dict[Case, Observed]:
    """What each call was like without this library."""
    return {}


def spans_of(receiver: OtlpReceiver, trace_id: int, number: int) -> list[ExportedSpan]:
    """Wait for so many spans of one trace, and return them by kind: CLIENT, SERVER."""
    wanted = f"{trace_id:032x}"

    def arrived(spans: list[ExportedSpan]) -> bool:
        return sum(span.trace_id == wanted for span in spans) >= number

    spans = receiver.wait_for(arrived, what=f"{number} spans of trace {wanted}")
    found = [span for span in spans if span.trace_id == wanted]
    assert len(found) == number
    return sorted(found, key=lambda span: span.kind)


@requirement("propagation.calls", "propagation.rpc-spans")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_sync_call_goes_as_on_bare_grpc_and_is_one_span_below_the_clients(
    case: Case,
    form: Form,
    ports: dict[str, int],
    provider: TracerProvider,
    receiver: OtlpReceiver,
    on_bare_grpc: dict[Case, Observed],
) -> None:
    bare = on_bare_grpc.get(case) or case.run(ports["bare"], "bare")
    on_bare_grpc[case] = bare
    recording = form.startswith("recording")
    port = ports["full" if recording else "traced"]
    began_unix_nanos = time.time_ns()
    with remote_parent() as parent:
        traced = case.run(port, form, provider)
    ended_unix_nanos = time.time_ns()

    assert traced == bare

    spans = spans_of(receiver, parent.trace_id, 2 if recording else 1)
    server_span = spans[-1]
    if recording:
        client_span = spans[0]
        assert client_span.parent_span_id == f"{parent.span_id:016x}"
        assert began_unix_nanos <= client_span.start_unix_nanos < client_span.end_unix_nanos
        assert client_span.end_unix_nanos <= ended_unix_nanos
        assert_client_span(client_span, case, traced)
    above = spans[0].span_id if recording else f"{parent.span_id:016x}"
    assert server_span.parent_span_id == above
    assert_server_span(server_span, case, recording=recording)
    assert began_unix_nanos <= server_span.start_unix_nanos < server_span.end_unix_nanos

    own = f"00-{server_span.trace_id}-{server_span.span_id}-01"
    if traced.seen is not None:
        # The context inside the handler, also between two responses, is this very span.
        assert set(traced.current) == {own}
        # And that of an RPC that is not recorded is the client's.
        assert traced.control.startswith(
            format_traceparent(parent.trace_id, parent.span_id, parent.trace_flags)
        )
    assert set(bare.current) <= {""}

    # A function's response comes without its metadata.
    answered = case.go in {future, with_call} or (case.go is complete and traced.code != "")
    if recording and answered and case.way != "non_blocking":
        assert traced.answer == own
    if not recording:
        assert traced.answer == ""


def assert_server_span(span: ExportedSpan, case: Case, *, recording: bool) -> None:
    assert span.kind == "SERVER"
    assert span.service_name == "matrix"
    method = f"matrix.Matrix/{case.kind}_{case.way}"
    assert span.name == method
    attributes = dict(span.attributes)
    if case.way != "bad_request":
        assert attributes.pop("network.peer.address") == "127.0.0.1"
        assert isinstance(attributes.pop("network.peer.port"), int)
    assert attributes.pop("rpc.response.status_code") in case.code.split("|")
    expected: dict[str, object] = {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "server.address": "127.0.0.1",
    }
    if case.error_type:
        expected["error.type"] = case.error_type
    if recording and case.go is duplicates:
        expected["rpc.request.metadata.k"] = ("1", "2", "1")
    if recording and case.way in {"metadata", "error", "abort"}:
        expected["rpc.response.metadata.trailer"] = ("1", "2")
    assert attributes == expected
    assert span.status_code == ("ERROR" if case.error_type else "UNSET")
    assert [event.name for event in span.events] == ["exception"] * case.exceptions


def assert_client_span(span: ExportedSpan, case: Case, observed: Observed) -> None:
    assert span.kind == "CLIENT"
    method = f"matrix.Matrix/{case.kind}_{case.way}"
    assert span.name == method
    code = observed.code
    if not code:  # there was nobody left to ask
        code = case.code
    expected: dict[str, object] = {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.response.status_code": code,
    }
    if code != "OK":
        expected["error.type"] = code
    if case.go is duplicates:
        expected["rpc.request.metadata.k"] = ("1", "2", "1")
    attributes = dict(span.attributes)
    for key in ("initial", "trailer"):
        found = attributes.pop(f"rpc.response.metadata.{key}", ())
        of_call = (*observed.initial, *observed.trailing)
        values = tuple(value for name, value in of_call if name == key)
        # Without a call to ask nobody knows what there was to see.
        assert found == values or not observed.code or case.go.__name__ == "by_place"
    assert attributes == expected
    assert span.status_code == ("UNSET" if code == "OK" else "ERROR")
