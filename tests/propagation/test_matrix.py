"""RPCs go as on bare gRPC, and each is one span that tells how it went.

Client here, servers in processes of their own, spans over OTLP from the server's process to here.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from tests.propagation.matrix_client import Case, Form, Observed, cases, remote_parent
from tests.propagation.processes import child

from linkspan_propagation import format_traceparent, parse_traceparent
from linkspan_propagation.testing import ExportedSpan, OtlpReceiver

FORMS: tuple[Form, ...] = ("interceptors", "traced_channel")


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def bare_port() -> Iterator[int]:
    with child("matrix_server.py", "bare") as bare:
        yield int(bare.ready)


@pytest.fixture(scope="module")
def traced_port(receiver: OtlpReceiver) -> Iterator[int]:
    env = {**receiver.environ(), "OTEL_BSP_SCHEDULE_DELAY": "10"}
    with child("matrix_server.py", "traced", env=env) as traced:
        yield int(traced.ready)
    # The process has flushed and ended: nothing was recorded twice, late, or without a call.
    counts = Counter(span.trace_id for span in receiver.spans())
    assert set(counts.values()) == {1}


@pytest.fixture(scope="module")
def on_bare_grpc() -> dict[Case, Observed]:
    """What each call was like without this library."""
    return {}


def span_of(receiver: OtlpReceiver, trace_id: int) -> ExportedSpan:
    wanted = f"{trace_id:032x}"

    def arrived(spans: list[ExportedSpan]) -> bool:
        return any(span.trace_id == wanted for span in spans)

    spans = receiver.wait_for(arrived, what=f"a span of trace {wanted}")
    (span,) = [span for span in spans if span.trace_id == wanted]
    return span


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", list(cases()), ids=lambda case: case.name)
def test_a_call_goes_as_on_bare_grpc_and_is_one_span_below_the_clients(
    case: Case,
    form: Form,
    bare_port: int,
    traced_port: int,
    receiver: OtlpReceiver,
    on_bare_grpc: dict[Case, Observed],
) -> None:
    bare = on_bare_grpc.get(case) or asyncio.run(case.run(bare_port, "bare"))
    on_bare_grpc[case] = bare
    with remote_parent() as parent:
        traced = asyncio.run(case.run(traced_port, form))

    assert traced == bare

    span = span_of(receiver, parent.trace_id)
    assert span.parent_span_id == f"{parent.span_id:016x}"
    assert span.kind == "SERVER"
    assert span.service_name == "matrix"
    method = f"matrix.Matrix/{case.kind}_{case.way}"
    assert span.name == ("a name of its own" if method.endswith("/uu_metadata") else method)
    attributes = dict(span.attributes)
    reached = case.way != "bad_request" or case.kind[0] == "s"
    in_thread = case.way.startswith("sync") and case.kind[1] == "u"
    if reached and not in_thread:
        assert attributes.pop("network.peer.address") == "127.0.0.1"
        assert isinstance(attributes.pop("network.peer.port"), int)
    assert attributes.pop("rpc.response.status_code") in case.code.split("|")
    expected = {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "server.address": "127.0.0.1",
    }
    if case.error_type:
        expected["error.type"] = case.error_type
    assert attributes == expected
    assert span.status_code == ("ERROR" if case.error_type else "UNSET")
    assert [event.name for event in span.events] == ["exception"] * case.exceptions
    assert span.end_unix_nanos > span.start_unix_nanos
    if traced.seen is not None:
        # The context inside the handler, in whatever thread it ran, is this very span.
        inside = parse_traceparent(traced.current)
        assert inside is not None
        assert (f"{inside.trace_id:032x}", f"{inside.span_id:016x}") == (
            span.trace_id,
            span.span_id,
        )
        # And that of an RPC that is not recorded is the client's.
        assert traced.control.startswith(
            format_traceparent(parent.trace_id, parent.span_id, parent.trace_flags)
        )
    assert bare.current == ""
