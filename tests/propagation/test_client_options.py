"""What a client records of its calls where that is asked for, for either kind of gRPC."""

import asyncio
import gc
from collections.abc import Iterator
from typing import Any, Unpack

import grpc
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode
from tests.propagation.in_process import (
    ECHO,
    KINDS,
    SERVICE,
    Kind,
    Recorded,
    attributes_of,
    serving_sync,
)
from tests.propagation.matrix_client import remote_parent
from tests.requirements import requirement

from linkspan_propagation import (
    ClientOptions,
    client_interceptors,
    parse_traceparent,
    traced_channel,
)

RAISED = {"UnicodeEncodeError", "AttributeError"}
either_kind = pytest.mark.parametrize("kind", KINDS)


def show_traceparent(request: bytes, context: Any) -> bytes:
    """Answer with what the call carried."""
    del request
    return str(dict(context.invocation_metadata()).get("traceparent", "")).encode()


def count(request: bytes, context: Any) -> Iterator[bytes]:
    """Answer without an end."""
    del request
    while context.is_active():
        yield b"n"


def never(full_method: str) -> bool:
    """Record nothing."""
    del full_method
    return False


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving_sync({"Echo": show_traceparent, "Stream": count}) as port:
        yield port


def call(
    port: int,
    kind: Kind,
    method: str = ECHO,
    metadata: Any = (),
    **options: Unpack[ClientOptions],
) -> str:
    """Call by a traced channel of either kind, and return what the call carried."""
    target = f"127.0.0.1:{port}"

    async def call_aio() -> bytes:
        async with traced_channel(grpc.aio.insecure_channel(target), **options) as channel:
            make: Any = channel.unary_unary
            response: bytes = await make(method)(b"q", timeout=30, metadata=metadata)
            return response

    if kind == "aio":
        return asyncio.run(call_aio()).decode()
    with traced_channel(grpc.insecure_channel(target), **options) as channel:
        make: Any = channel.unary_unary
        response: bytes = make(method)(b"q", timeout=30, metadata=metadata)
        return response.decode()


@requirement("propagation.rpc-metrics")
@either_kind
def test_the_duration_of_each_call_is_measured_by_method_and_status(kind: Kind, port: int) -> None:
    recorded = Recorded()
    provider = recorded.meter_provider()
    options = ClientOptions(
        metrics=True, meter_provider=provider, attributes={"server.address": "there", "other": "x"}
    )
    with remote_parent() as parent:
        carried = call(port, kind, **options)
        with pytest.raises(grpc.RpcError):
            call(port, kind, f"/{SERVICE}/NoSuchMethod", **options)
    # Measuring alone puts no span between.
    assert carried.split("-")[2] == f"{parent.span_id:016x}"
    metric, points = recorded.metric()
    assert (metric.name, metric.unit) == ("rpc.client.call.duration", "s")
    base = {"rpc.system.name": "grpc", "server.address": "there"}
    ok, failed = sorted(
        (dict(point.attributes or {}) for point in points),
        key=lambda found: str(found["rpc.method"]),
    )
    assert ok == {
        **base,
        "rpc.method": "plain.Plain/Echo",
        "rpc.response.status_code": "OK",
    }
    assert failed == {
        **base,
        "rpc.method": "plain.Plain/NoSuchMethod",
        "rpc.response.status_code": "UNIMPLEMENTED",
        "error.type": "UNIMPLEMENTED",
    }
    assert points[0].explicit_bounds[:2] == (0.005, 0.01)
    provider.shutdown()


@requirement("propagation.filter")
@either_kind
def test_a_call_that_is_not_recorded_carries_the_current_context(kind: Kind, port: int) -> None:
    recorded = Recorded()
    options = ClientOptions(spans=True, record=never, tracer_provider=recorded.tracer_provider)
    with remote_parent() as parent:
        carried = call(port, kind, **options)
    assert carried.split("-")[1:3] == [f"{parent.trace_id:032x}", f"{parent.span_id:016x}"]
    assert recorded.ended.wait_for(0) == []


@either_kind
def test_an_unsampled_client_span_carries_the_trace_on(kind: Kind, port: int) -> None:
    unsampling = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    with remote_parent() as parent:
        carried = call(port, kind, spans=True, tracer_provider=unsampling)
    found = parse_traceparent(carried)
    assert found is not None
    assert (found.trace_id, found.flags) == (parent.trace_id, 0)


@either_kind
@pytest.mark.parametrize(
    "metadata",
    [
        (("Upper Case", "v"),),
        (("k", 5),),
        (("k", "\ud800"),),
        (("k", "v\n"),),
        (("k-bin", "text"),),
        (("a", "b", "c"),),
        {"k": "v"},
    ],
    ids=["key", "number", "surrogate", "line-feed", "text-bin", "triple", "mapping"],
)
def test_a_call_that_grpc_refuses_is_an_ended_span_in_error(
    metadata: Any, kind: Kind, port: int
) -> None:
    recorded = Recorded()
    options = ClientOptions(
        spans=True, tracer_provider=recorded.tracer_provider, request_metadata=["k"]
    )
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever gRPC raises
        call(port, kind, metadata=metadata, **options)
    span = recorded.span()
    # Not CANCELLED, as for a call that was let go of before gRPC said anything of it.
    assert attributes_of(span)["error.type"] in {"TypeError", "ValueError", "INTERNAL"} | RAISED
    assert span.status.status_code is StatusCode.ERROR


@either_kind
def test_a_span_is_named_as_was_asked_for(kind: Kind, port: int) -> None:
    recorded = Recorded()
    options = ClientOptions(
        spans=True,
        span_names={ECHO: "ask"},
        attributes={"server.address": "there", "server.port": 1},
        tracer_provider=recorded.tracer_provider,
    )
    call(port, kind, **options)
    span = recorded.span()
    assert span.name == "ask"
    attributes = attributes_of(span)
    assert (attributes["server.address"], attributes["server.port"]) == ("there", 1)


def test_a_stream_that_is_read_in_its_callers_thread_ends_when_it_is_let_go_of(port: int) -> None:
    """GRPC never says that such a call is over: nobody reads on."""
    recorded = Recorded()
    options: Any = [("SingleThreadedUnaryStream", 1)]  # grpc.experimental.ChannelOptions
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
    with traced_channel(channel, spans=True, tracer_provider=recorded.tracer_provider) as traced:
        make: Any = traced.unary_stream
        for message in make(f"/{SERVICE}/Stream")(b""):
            assert message == b"n"
            break
        gc.collect()
        span = recorded.span()
    assert attributes_of(span)["rpc.response.status_code"] == "CANCELLED"


def test_a_call_that_a_later_interceptor_waited_for_has_an_ended_span(port: int) -> None:
    recorded = Recorded()

    class Waiting(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(
            self, continuation: Any, client_call_details: Any, request: Any
        ) -> Any:
            return await (await continuation(client_call_details, request))

    async def call_aio() -> None:
        interceptors = [
            *client_interceptors(spans=True, tracer_provider=recorded.tracer_provider),
            Waiting(),
        ]
        target = f"127.0.0.1:{port}"
        async with grpc.aio.insecure_channel(target, interceptors=interceptors) as channel:
            make: Any = channel.unary_unary
            await make(ECHO)(b"", timeout=30)

    asyncio.run(call_aio())
    assert attributes_of(recorded.span())["rpc.response.status_code"] == "OK"
