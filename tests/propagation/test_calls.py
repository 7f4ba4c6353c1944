"""Single calls and many at once, to a server in another process: whose child a span is, if any."""

import asyncio
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from tests.propagation.matrix_client import (
    Case,
    Client,
    Form,
    Observed,
    cancel_writing,
    complete,
    open_channel,
    remote_parent,
)
from tests.propagation.processes import child

from linkspan_propagation import TraceParent, format_traceparent, parse_traceparent
from linkspan_propagation.testing import ExportedSpan, OtlpReceiver, assert_one_trace, traces

FORMS: tuple[Form, ...] = ("interceptors", "traced_channel")
ALL_FORMS: tuple[Form, ...] = (*FORMS, "recording_interceptors", "recording_channel")
KINDS = ("uu", "us", "su", "ss")
every_form = pytest.mark.parametrize("form", FORMS)
in_all_forms = pytest.mark.parametrize("form", ALL_FORMS)
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def port(receiver: OtlpReceiver) -> Iterator[int]:
    env = {**receiver.environ(), "OTEL_BSP_SCHEDULE_DELAY": "10"}
    with child("matrix_server.py", "traced", env=env) as traced:
        yield int(traced.ready)


@pytest.fixture(autouse=True)
def forget(receiver: OtlpReceiver) -> None:
    receiver.clear()


def the_span(receiver: OtlpReceiver) -> ExportedSpan:
    (span,) = receiver.wait_for(lambda spans: len(spans) >= 1, what="the span of the call")
    return span


async def call_unary(
    port: int, form: Form, method: str, *, timeout_seconds: float = 30, metadata: Any = None
) -> bytes:
    async with open_channel(port, form) as channel:
        make: Callable[..., Any] = channel.unary_unary
        response: bytes = await make(method)(b"q", timeout=timeout_seconds, metadata=metadata)
        return response


# --- metadata that gRPC refuses -----------------------------------------------------------------


async def refusal(port: int, form: Form, kind: str, metadata: Any) -> tuple[str, str, str]:
    """Return when a call was refused, by which exception, and why."""
    async with open_channel(port, form) as channel:
        client = Client(channel, channel, kind, f"/matrix.Matrix/{kind}_ok", "", Observed())
        words = {"u": "unary", "s": "stream"}
        make: Any = getattr(channel, f"{words[kind[0]]}_{words[kind[1]]}")
        request = b"q" if kind[0] == "u" else iter([b"q"])
        try:
            call = make(client.method)(request, metadata=metadata, timeout=30)
        except (TypeError, ValueError) as error:
            return ("at once", type(error).__name__, str(error))
        try:
            await asyncio.wait_for(client.consume(call), 30)
        except grpc.aio.AioRpcError as error:
            return ("when awaited", type(error).__name__, str(error.details()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
            return ("when awaited", type(error).__name__, str(error).split("<", 1)[0])
        return ("not at all", "", "")


@in_all_forms
@every_kind
@pytest.mark.parametrize(
    "metadata",
    [
        (("k", "\ud800"),),
        (("k", 5),),
        ((5, "v"),),
        (("k-bin", "text"),),
        (("Upper", "v"),),
        (("a key", "v"),),
        (("k", "v\n"),),
        (("a", "b", "c"),),
        (("a",),),
        {"k": "v"},
    ],
    ids=[
        "surrogate",
        "number",
        "number-key",
        "text-bin",
        "upper",
        "blank",
        "line-feed",
        "triple",
        "single",
        "mapping",
    ],
)
def test_metadata_that_cannot_be_sent_are_refused_as_by_bare_grpc(
    metadata: Any, kind: str, form: Form, port: int
) -> None:
    bare = asyncio.run(refusal(port, "bare", kind, metadata))
    with remote_parent():
        traced = asyncio.run(refusal(port, form, kind, metadata))
    assert traced == bare
    assert bare[0] != "not at all"


@every_form
def test_metadata_from_an_iterator_are_sent(form: Form, port: int, receiver: OtlpReceiver) -> None:
    with remote_parent() as parent:
        asyncio.run(
            call_unary(port, form, "/matrix.Matrix/uu_ok", metadata=iter([("call-id", "i")]))
        )
    assert the_span(receiver).parent_span_id == f"{parent.span_id:016x}"


# --- where a span hangs -------------------------------------------------------------------------


@every_form
def test_a_call_below_no_span_is_a_root(form: Form, port: int, receiver: OtlpReceiver) -> None:
    asyncio.run(call_unary(port, form, "/matrix.Matrix/uu_ok"))
    span = the_span(receiver)
    assert span.parent_span_id == ""
    assert_one_trace([span])


@pytest.mark.parametrize(
    "traceparent",
    [
        "broken",
        f"ff-{'1' * 32}-{'2' * 16}-01",
        f"00-{'0' * 32}-{'2' * 16}-01",
        f"00-{'A' * 32}-{'2' * 16}-01",
    ],
)
def test_a_malformed_parent_is_a_root_and_no_error(
    traceparent: str, port: int, receiver: OtlpReceiver
) -> None:
    asyncio.run(
        call_unary(port, "bare", "/matrix.Matrix/uu_ok", metadata=(("traceparent", traceparent),))
    )
    assert the_span(receiver).parent_span_id == ""


def test_of_several_traceparents_on_the_wire_the_last_is_the_parent(
    port: int, receiver: OtlpReceiver
) -> None:
    first = format_traceparent(1, 2, 1)
    last = format_traceparent(3, 4, 1)
    metadata = (("traceparent", first), ("traceparent", last))
    asyncio.run(call_unary(port, "bare", "/matrix.Matrix/uu_ok", metadata=metadata))
    assert the_span(receiver).parent_span_id == f"{4:016x}"


@every_form
def test_the_current_span_wins_over_a_traceparent_of_the_callers_own(
    form: Form, port: int, receiver: OtlpReceiver
) -> None:
    with remote_parent() as parent:
        asyncio.run(
            call_unary(
                port,
                form,
                "/matrix.Matrix/uu_ok",
                metadata=(("traceparent", format_traceparent(1, 2, 1)),),
            )
        )
    assert the_span(receiver).parent_span_id == f"{parent.span_id:016x}"


@every_form
def test_tracestate_and_baggage_cross(form: Form, port: int, receiver: OtlpReceiver) -> None:
    span_context = SpanContext(
        secrets.randbits(128) | 1,
        secrets.randbits(64) | 1,
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=trace.TraceState([("vendor", "x"), ("older", "y")]),
    )
    context = trace.set_span_in_context(NonRecordingSpan(span_context), Context())
    token = otel_context.attach(baggage.set_baggage("tenant", "a b", context))
    try:
        observed = asyncio.run(Case("uu", "ok", complete).run(port, form))
    finally:
        otel_context.detach(token)
    assert the_span(receiver).trace_state == "vendor=x,older=y"
    assert observed.fields["tracestate"] == "vendor=x,older=y"
    assert observed.fields["baggage"] == "tenant=a%20b"


@every_form
@every_kind
def test_an_unsampled_call_has_no_span_and_carries_its_trace_on(
    kind: str, form: Form, port: int, receiver: OtlpReceiver
) -> None:
    with remote_parent(sampled=False) as unsampled:
        observed = asyncio.run(Case(kind, "ok", complete).run(port, form))
    with remote_parent() as sampled:
        asyncio.run(Case(kind, "ok", complete).run(port, form))

    inside = parse_traceparent(observed.current)
    assert isinstance(inside, TraceParent)
    assert (inside.trace_id, inside.flags) == (unsampled.trace_id, 0)
    # The later call's span is here, so that the earlier one's, if there were any, would be too.
    assert the_span(receiver).trace_id == f"{sampled.trace_id:032x}"


# --- methods ------------------------------------------------------------------------------------


@every_form
def test_an_unknown_method_is_a_span_that_does_not_take_its_name_from_the_caller(
    form: Form, port: int, receiver: OtlpReceiver
) -> None:
    with remote_parent() as parent, pytest.raises(grpc.aio.AioRpcError) as caught:
        asyncio.run(call_unary(port, form, "/matrix.Matrix/no_such_method"))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    span = the_span(receiver)
    assert span.name == "_OTHER"
    assert span.parent_span_id == f"{parent.span_id:016x}"
    assert span.status_code == "ERROR"
    assert span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": "_OTHER",
        "rpc.method_original": "matrix.Matrix/no_such_method",
        "rpc.response.status_code": "UNIMPLEMENTED",
        "error.type": "UNIMPLEMENTED",
        "server.address": "127.0.0.1",
    }


@every_form
def test_a_registered_method_is_a_span_as_any_other(
    form: Form, port: int, receiver: OtlpReceiver
) -> None:
    asyncio.run(call_unary(port, form, "/matrix.Registered/ok"))
    span = the_span(receiver)
    assert span.name == "matrix.Registered/ok"
    assert span.attributes["rpc.response.status_code"] == "OK"


@every_form
def test_a_registered_method_knows_its_deadline(
    form: Form, port: int, receiver: OtlpReceiver
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        asyncio.run(call_unary(port, form, "/matrix.Registered/hang", timeout_seconds=0.5))
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert the_span(receiver).attributes["rpc.response.status_code"] == "DEADLINE_EXCEEDED"


def test_a_stream_of_requests_that_the_client_cuts_is_as_a_rule_cancelled(
    port: int, receiver: OtlpReceiver
) -> None:
    """The handler of one response is told that the requests came to their end, and returns."""
    calls = 20

    async def cut() -> None:
        for _ in range(calls):
            await Case("su", "ok", cancel_writing).run(port, "traced_channel")

    with remote_parent():
        asyncio.run(cut())
    spans = receiver.wait_for(lambda spans: len(spans) == calls, what="a span of each call")
    codes = [span.attributes["rpc.response.status_code"] for span in spans]
    assert set(codes) <= {"CANCELLED", "OK"}
    assert codes.count("CANCELLED") > calls / 2


# --- many calls at once -------------------------------------------------------------------------


@contextmanager
def current(span_context: SpanContext) -> Generator[None]:
    token = otel_context.attach(
        trace.set_span_in_context(NonRecordingSpan(span_context), Context())
    )
    try:
        yield
    finally:
        otel_context.detach(token)


def test_200_calls_at_once_are_200_traces_of_two_spans(port: int, receiver: OtlpReceiver) -> None:
    """All handlers are inside at the same time, each with a span of its own current."""
    calls = 200

    async def call(number: int, channel: grpc.aio.Channel) -> SpanContext:
        kind = KINDS[number % 4]
        client = Client(
            channel,
            channel,
            kind,
            f"/matrix.Matrix/{kind}_nested",
            f"call-{number}",
            Observed(),
        )
        parent = SpanContext(
            secrets.randbits(128) | 1,
            secrets.randbits(64) | 1,
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )
        with current(parent):
            started = client.start(metadata=(("k", str(calls)),))
            await client.end(client.consume(started), started)
            await client.see()
        assert client.observed.code == "OK"
        inside = parse_traceparent(client.observed.current)
        assert inside is not None
        assert inside.trace_id == parent.trace_id
        return parent

    async def call_all() -> list[SpanContext]:
        async with (
            open_channel(port, "traced_channel") as one,
            open_channel(port, "interceptors") as other,
        ):
            return await asyncio.gather(
                *(call(number, one if number % 8 < 4 else other) for number in range(calls))
            )

    parents = asyncio.run(call_all())
    spans = receiver.wait_for(lambda spans: len(spans) >= 2 * calls, what="the spans of all calls")
    by_trace = traces(spans)
    assert len(by_trace) == calls
    for parent in parents:
        server, inner = assert_one_trace(
            by_trace[f"{parent.trace_id:032x}"], remote_parents=[f"{parent.span_id:016x}"]
        )
        assert (server.kind, inner.kind) == ("SERVER", "INTERNAL")
