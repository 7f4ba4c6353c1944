"""Trace context goes through a tunnel as it goes without one, in each way that propagation wraps."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from tests.requirements import requirement
from tests.tunnel.scripted import OPTIONS, plain_channel

from linkspan_propagation import server_interceptor, traced_channel, traced_server
from linkspan_propagation.testing import ExportedSpan, OtlpReceiver, assert_one_trace, traces
from linkspan_tunnel import TunnelChannel, TunnelServer

CHECK = "grpc.health.v1.Health/Check"
WATCH = "grpc.health.v1.Health/Watch"
SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


class Health(health_pb2_grpc.HealthServicer):
    """A servicer of generated code, whose methods make spans of their own."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer(__name__)

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        await asyncio.sleep(0)
        with self._tracer.start_as_current_span(f"inner {request.service}"):
            if request.service == "none":
                await context.abort(grpc.StatusCode.NOT_FOUND, "none")
            return SERVING

    async def Watch(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:  # noqa: N802
        del context
        for _ in range(2):
            with self._tracer.start_as_current_span(f"inner {request.service}"):
                await asyncio.sleep(0)
            yield SERVING


@pytest.fixture(scope="module")
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture
def provider(receiver: OtlpReceiver) -> Iterator[TracerProvider]:
    receiver.clear()
    provider = TracerProvider()
    exporter = OTLPSpanExporter(endpoint=receiver.endpoint, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10))
    yield provider
    provider.shutdown()


def _with_interceptors(provider: TracerProvider) -> grpc.aio.Server:
    interceptors = [server_interceptor(tracer_provider=provider, record=_is_a_call)]
    server = grpc.aio.server(options=OPTIONS, interceptors=interceptors)
    return TunnelServer(server, interceptors=interceptors)


def _wrapped_outside(provider: TracerProvider) -> grpc.aio.Server:
    return traced_server(TunnelServer(grpc.aio.server(options=OPTIONS)), tracer_provider=provider)


def _is_a_call(full_method: str) -> bool:
    return "Health" in full_method


@requirement("tunnel.trace")
@pytest.mark.parametrize("make_server", [_with_interceptors, _wrapped_outside])
def test_each_call_is_one_trace_with_its_caller(
    make_server: Callable[[TracerProvider], grpc.aio.Server],
    provider: TracerProvider,
    receiver: OtlpReceiver,
) -> None:
    tracer = provider.get_tracer(__name__)

    async def one(stub: Any, name: str) -> None:
        with tracer.start_as_current_span(f"outer {name}"):
            request = health_pb2.HealthCheckRequest(service=name)
            if name.startswith("watch"):
                assert [answer async for answer in stub.Watch(request)] == [SERVING] * 2
            elif name == "none":
                assert await stub.Check(request).code() is grpc.StatusCode.NOT_FOUND
            else:
                assert await stub.Check(request) == SERVING

    async def run() -> None:
        server = make_server(provider)
        health_pb2_grpc.add_HealthServicer_to_server(Health(provider), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = traced_channel(TunnelChannel(plain_channel(port)))
        stub: Any = health_pb2_grpc.HealthStub(channel)
        await asyncio.gather(*[one(stub, name) for name in NAMES])
        await channel.close()
        await server.stop(None)

    asyncio.run(asyncio.wait_for(run(), 50))
    count = sum(4 if name.startswith("watch") else 3 for name in NAMES)
    spans = receiver.wait_for(lambda spans: len(spans) >= count, what="the spans of all calls")
    assert len(traces(spans)) == len(NAMES)
    for trace in traces(spans).values():
        _is_whole(trace)


NAMES = [*[f"check {n}" for n in range(20)], *[f"watch {n}" for n in range(20)], "none"]


def _is_whole(trace: list[ExportedSpan]) -> None:
    outer, served, *inner = assert_one_trace(trace)
    name = outer.name.removeprefix("outer ")
    assert served.name == (WATCH if name.startswith("watch") else CHECK)
    assert served.parent_span_id == outer.span_id
    assert [span.name for span in inner] == [f"inner {name}"] * len(inner)
    assert {span.parent_span_id for span in inner} == {served.span_id}
    code = "NOT_FOUND" if name == "none" else "OK"
    assert served.attributes["rpc.response.status_code"] == code
    assert served.attributes["network.peer.address"] == "127.0.0.1"
