"""What a server records beside the span of each RPC, or instead of it, for either kind of gRPC."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Unpack

import grpc
import pytest
from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext
from tests.propagation.in_process import (
    ECHO,
    KINDS,
    SERVICE,
    Kind,
    Recorded,
    attributes_of,
    echo_sync,
    serving_aio,
    serving_sync,
)
from tests.requirements import requirement

from linkspan_propagation import (
    MetadataCaptureError,
    ServerOptions,
    format_traceparent,
    inject_into_fields,
    server_interceptor,
    sync_server_interceptor,
    traced_server,
)

PARENT = format_traceparent(0xABC, 0xDEF, 1)
either_kind = pytest.mark.parametrize("kind", KINDS)


def never(full_method: str) -> bool:
    """Record nothing."""
    del full_method
    return False


@contextmanager
def serving(kind: Kind, methods: Any = None, **options: Unpack[ServerOptions]) -> Generator[int]:
    """Run a traced server of either kind, whose methods are sync ones."""
    methods = methods or {"Echo": echo_sync}
    if kind == "sync":
        with serving_sync(methods, trace=lambda it: traced_server(it, **options)) as port:
            yield port
    else:
        with serving_aio(methods, trace=lambda it: traced_server(it, **options)) as port:
            yield port


def call(port: int, method: str = ECHO, **arguments: Any) -> tuple[bytes, grpc.Call]:
    """Call with the caller's context ``PARENT``."""
    arguments.setdefault("metadata", (("traceparent", PARENT),))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        make: Any = channel.unary_unary
        response: bytes
        response, of_call = make(method).with_call(b"q", timeout=30, **arguments)
        return response, of_call


def trailing(of_call: Any) -> list[tuple[str, str]]:
    return [(key, value) for key, value in of_call.trailing_metadata() or ()]


# --- metrics ------------------------------------------------------------------------------------


@requirement("propagation.rpc-metrics")
@either_kind
def test_the_duration_of_each_rpc_is_measured_by_method_and_status(kind: Kind) -> None:
    recorded = Recorded()

    def refuse(request: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.INTERNAL, "broken")
        return request

    provider = recorded.meter_provider()
    options = ServerOptions(
        metrics=True,
        meter_provider=provider,
        tracer_provider=recorded.tracer_provider,
        attributes={"server.address": "here", "other": "not of a metric"},
    )
    with serving(kind, {"Echo": echo_sync, "Refuse": refuse}, **options) as port:
        call(port)
        call(port)
        for method in ("Refuse", "NoSuchMethod"):
            with pytest.raises(grpc.RpcError):
                call(port, f"/{SERVICE}/{method}")
        spans = recorded.ended.wait_for(4)
    metric, points = recorded.metric()
    assert (metric.name, metric.unit) == ("rpc.server.call.duration", "s")
    base = {"rpc.system.name": "grpc", "server.address": "here"}
    by_method = {
        str(dict(point.attributes or {})["rpc.method"]): (point.count, dict(point.attributes or {}))
        for point in points
    }
    assert by_method == {
        "plain.Plain/Echo": (
            2,
            {**base, "rpc.method": "plain.Plain/Echo", "rpc.response.status_code": "OK"},
        ),
        "plain.Plain/Refuse": (
            1,
            {
                **base,
                "rpc.method": "plain.Plain/Refuse",
                "rpc.response.status_code": "INTERNAL",
                "error.type": "INTERNAL",
            },
        ),
        # Never a name of the caller's own making.
        "_OTHER": (
            1,
            {
                **base,
                "rpc.method": "_OTHER",
                "rpc.response.status_code": "UNIMPLEMENTED",
                "error.type": "UNIMPLEMENTED",
            },
        ),
    }
    for point in points:
        assert point.explicit_bounds == (
            *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75),
            *(1.0, 2.5, 5.0, 7.5, 10.0),
        )
        assert 0 < point.min <= point.max < 10
    exemplars = {exemplar.span_id for point in points for exemplar in point.exemplars}
    assert exemplars <= {span.context.span_id for span in spans if span.context is not None}
    assert exemplars
    provider.shutdown()


@either_kind
def test_an_unsampled_rpc_is_measured(kind: Kind) -> None:
    recorded = Recorded()
    provider = recorded.meter_provider()
    unsampling = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    with serving(kind, metrics=True, meter_provider=provider, tracer_provider=unsampling) as port:
        call(port)
    _, (point,) = recorded.metric()
    assert point.count == 1
    assert dict(point.attributes or {})["rpc.response.status_code"] == "OK"
    provider.shutdown()


# --- strangers ----------------------------------------------------------------------------------


@requirement("trace.public-endpoint")
@either_kind
def test_a_strangers_call_is_a_trace_of_its_own_that_links_to_the_strangers(kind: Kind) -> None:
    recorded = Recorded()
    inside: list[str] = []

    def look(request: bytes, context: Any) -> bytes:
        del context
        inside.append(inject_into_fields()["traceparent"])
        inside.append(str(baggage.get_baggage("tenant")))
        return request

    options = ServerOptions(public_endpoint=True, tracer_provider=recorded.tracer_provider)
    with serving(kind, {"Echo": look}, **options) as port:
        call(port, metadata=(("traceparent", PARENT), ("baggage", "tenant=a")))
        span = recorded.span()
    context = span.context
    assert context is not None
    assert span.parent is None
    assert context.trace_id != 0xABC
    (link,) = span.links
    assert (link.context.trace_id, link.context.span_id) == (0xABC, 0xDEF)
    assert inside == [
        format_traceparent(context.trace_id, context.span_id, 1 | context.trace_flags),
        "a",
    ]


@either_kind
def test_a_stranger_without_a_trace_is_linked_to_nothing(kind: Kind) -> None:
    recorded = Recorded()
    options = ServerOptions(public_endpoint=True, tracer_provider=recorded.tracer_provider)
    with serving(kind, **options) as port:
        call(port, metadata=())
        span = recorded.span()
    assert (span.parent, tuple(span.links)) == (None, ())


@either_kind
def test_a_strangers_call_that_is_not_recorded_has_no_parent_to_hand_on(kind: Kind) -> None:
    seen: list[SpanContext] = []

    def look(request: bytes, context: Any) -> bytes:
        del context
        seen.append(trace.get_current_span().get_span_context())
        return request

    options = ServerOptions(public_endpoint=True, record=never)
    with serving(kind, {"Echo": look}, **options) as port:
        call(port)
    assert [context.is_valid for context in seen] == [False]


# --- the filter ---------------------------------------------------------------------------------


@requirement("propagation.filter")
@either_kind
def test_what_is_not_recorded_leaves_nothing_and_hands_the_callers_context_on(kind: Kind) -> None:
    recorded = Recorded()
    provider = recorded.meter_provider()
    inside: list[str] = []

    def look(request: bytes, context: Any) -> bytes:
        del context
        inside.append(inject_into_fields()["traceparent"])
        return request

    asked: list[str] = []

    def is_recorded(full_method: str) -> bool:
        asked.append(full_method)
        return full_method != ECHO

    options = ServerOptions(
        record=is_recorded,
        metrics=True,
        meter_provider=provider,
        traceresponse=True,
        tracer_provider=recorded.tracer_provider,
    )
    with serving(kind, {"Echo": look, "Other": echo_sync}, **options) as port:
        _, of_call = call(port)
        call(port, f"/{SERVICE}/Other")
        span = recorded.span()
    assert span.name == "plain.Plain/Other"
    assert asked == [ECHO, f"/{SERVICE}/Other"]
    assert inside == [PARENT]
    assert trailing(of_call) == []
    _, (point,) = recorded.metric()
    assert dict(point.attributes or {})["rpc.method"] == "plain.Plain/Other"
    provider.shutdown()


@either_kind
def test_a_filter_that_raises_costs_a_span_and_no_call(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(full_method: str) -> bool:
        raise LookupError(full_method)

    with serving(kind, record=broken) as port:
        assert call(port)[0] == b"q"
    assert "could not start the span" in caplog.text


# --- traceresponse ------------------------------------------------------------------------------


@either_kind
def test_a_caller_is_told_of_an_unsampled_span_too(kind: Kind) -> None:
    unsampling = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    with serving(kind, traceresponse=True, tracer_provider=unsampling) as port:
        _, of_call = call(port)
    ((key, value),) = trailing(of_call)
    assert key == "traceresponse"
    assert value.startswith(f"00-{0xABC:032x}-")
    assert value.endswith("-00")


@requirement("trace.response")
@either_kind
def test_a_handlers_own_traceresponse_and_trailing_metadata_stay(kind: Kind) -> None:
    recorded = Recorded()
    own = ("traceresponse", "00-mine")

    def answer(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("a", "1"),))
        context.set_trailing_metadata((("b", "1"), own, ("b", "2")))
        return request

    options = ServerOptions(traceresponse=True, tracer_provider=recorded.tracer_provider)
    with serving(kind, {"Echo": answer}, **options) as port:
        _, of_call = call(port)
    assert trailing(of_call) == [("b", "1"), own, ("b", "2")]


@requirement("trace.response")
@either_kind
def test_who_is_told_may_depend_on_the_call(kind: Kind, caplog: pytest.LogCaptureFixture) -> None:
    recorded = Recorded()

    def chosen(details: grpc.HandlerCallDetails) -> bool:
        metadata: Any = details.invocation_metadata
        if dict(metadata).get("break"):
            raise LookupError("chosen")
        return details.method == ECHO

    options = ServerOptions(traceresponse=chosen, tracer_provider=recorded.tracer_provider)
    with serving(kind, {"Echo": echo_sync, "Other": echo_sync}, **options) as port:
        _, of_echo = call(port)
        _, of_other = call(port, f"/{SERVICE}/Other")
        response, of_broken = call(port, metadata=(("break", "1"),))
    assert [key for key, _ in trailing(of_echo)] == ["traceresponse"]
    assert trailing(of_other) == trailing(of_broken) == []
    assert response == b"q"
    assert "could not tell the span" in caplog.text


@either_kind
def test_without_a_span_nobody_is_told_of_one(kind: Kind) -> None:
    with serving(kind, traceresponse=True) as port:
        _, of_call = call(port, metadata=())
    assert trailing(of_call) == []


# --- metadata -----------------------------------------------------------------------------------


@requirement("trace.no-secrets")
@pytest.mark.parametrize(
    "key",
    [
        "authorization",
        "Authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "x-api-key",
        "x-goog-iam-authorization-token",
        "mcp-session-id",
        "my-secret",
        "user-bin",
        "a key",
        "",
    ],
)
def test_a_key_whose_values_may_be_secrets_or_no_text_stops_the_set_up(key: str) -> None:
    for name in ("request_metadata", "response_metadata"):
        options: Any = {name: ["fine", key]}
        for set_up in (server_interceptor, sync_server_interceptor):
            with pytest.raises(MetadataCaptureError) as caught:
                set_up(**options)
            assert caught.value.key == key


@requirement("trace.capture")
@either_kind
def test_only_the_keys_that_were_asked_for_become_attributes(kind: Kind) -> None:
    recorded = Recorded()
    options = ServerOptions(request_metadata=["X-Tenant"], tracer_provider=recorded.tracer_provider)
    metadata = (("x-tenant", "a"), ("authorization", "Bearer s3cret"), ("x-tenant", "b"))
    with serving(kind, **options) as port:
        call(port, metadata=metadata)
        attributes = attributes_of(recorded.span())
    assert attributes["rpc.request.metadata.x-tenant"] == ("a", "b")
    assert "s3cret" not in str(attributes)


# --- where gRPC does not call the method --------------------------------------------------------


@requirement("propagation.rpc-spans")
@either_kind
def test_a_method_that_is_not_there_is_a_span_of_no_name_of_the_callers(kind: Kind) -> None:
    recorded = Recorded()
    with serving(kind, tracer_provider=recorded.tracer_provider) as port:
        with pytest.raises(grpc.RpcError):
            call(port, "/plain.Plain/NoSuchMethod")
        span = recorded.span()
    assert span.name == "_OTHER"
    attributes = attributes_of(span)
    assert attributes["rpc.method_original"] == "plain.Plain/NoSuchMethod"
    assert attributes["rpc.response.status_code"] == "UNIMPLEMENTED"
    assert span.parent is not None
    assert span.parent.span_id == 0xDEF


def test_a_sync_rpc_beyond_the_limit_has_an_ended_span_without_a_status() -> None:
    recorded = Recorded()
    interceptor = sync_server_interceptor(tracer_provider=recorded.tracer_provider)
    with serving_sync(interceptors=[interceptor], maximum_concurrent_rpcs=0) as port:
        with pytest.raises(grpc.RpcError) as caught:
            call(port)
        span = recorded.span()
    refusal: Any = caught.value
    assert refusal.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "rpc.response.status_code" not in attributes_of(span)


def test_a_later_sync_interceptor_that_raises_is_part_of_the_span() -> None:
    recorded = Recorded()

    class Broken(grpc.ServerInterceptor):
        def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            del continuation, handler_call_details
            raise LookupError("not today")

    interceptor = sync_server_interceptor(tracer_provider=recorded.tracer_provider)
    with serving_sync(interceptors=[interceptor, Broken()]) as port:
        with pytest.raises(grpc.RpcError):
            call(port)
        span = recorded.span()
    attributes = attributes_of(span)
    assert attributes["rpc.response.status_code"] == "UNKNOWN"
    assert attributes["error.type"] == "LookupError"
    assert [event.name for event in span.events] == ["exception"]


@either_kind
def test_a_registered_method_of_a_traced_server_is_a_span_as_any_other(kind: Kind) -> None:
    recorded = Recorded()

    def register(server: Any) -> Any:
        trace_it: Any = traced_server
        traced: Any = trace_it(server, tracer_provider=recorded.tracer_provider)
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
            echo_sync
        )
        traced.add_registered_method_handlers("registered.Registered", {"Echo": handler})
        return traced

    serve: Any = serving_sync if kind == "sync" else serving_aio
    with serve({"Echo": echo_sync}, trace=register) as port:
        assert call(port, "/registered.Registered/Echo")[0] == b"q"
        span = recorded.span()
    assert span.name == "registered.Registered/Echo"
