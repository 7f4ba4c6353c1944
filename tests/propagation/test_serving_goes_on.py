"""Broken telemetry, and RPCs that gRPC turns away: serving goes on, and no span stays open."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import SpanKind
from opentelemetry.util.types import Attributes
from tests.propagation.matrix_client import remote_parent

from linkspan_propagation import server_interceptor, traced_channel
from linkspan_propagation.testing import ExportedSpan, OtlpReceiver

ECHO = "/serving.Serving/Echo"


async def echo(request: bytes, context: Any) -> bytes:
    del context
    return request


@asynccontextmanager
async def serving(
    *interceptors: grpc.aio.ServerInterceptor, method: Any = echo, **options: Any
) -> AsyncGenerator[grpc.aio.Channel]:
    """Serve one unary method, and open a traced channel to it."""
    server = grpc.aio.server(interceptors=interceptors, **options)
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "serving.Serving", {"Echo": grpc.unary_unary_rpc_method_handler(method)}
            )
        ]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with traced_channel(grpc.aio.insecure_channel(f"127.0.0.1:{port}")) as channel:
            yield channel
    finally:
        await server.stop(1)


async def call(channel: grpc.aio.Channel) -> bytes:
    make: Callable[..., Any] = channel.unary_unary
    response: bytes = await make(ECHO)(b"q", timeout=30)
    return response


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture
def provider(receiver: OtlpReceiver) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=receiver.endpoint)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10))
    yield provider
    provider.shutdown()


def the_span(receiver: OtlpReceiver) -> ExportedSpan:
    (span,) = receiver.wait_for(lambda spans: len(spans) == 1, what="the span")
    return span


# --- broken telemetry ---------------------------------------------------------------------------


class RaisingProcessor(SpanProcessor):
    """Raises at the start or at the end of each span."""

    def __init__(self, at: str) -> None:
        self.at = at

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        del span, parent_context
        if self.at == "start":
            raise RuntimeError("a broken processor")

    def on_end(self, span: ReadableSpan) -> None:
        del span
        if self.at == "end":
            raise RuntimeError("a broken processor")


class RaisingSampler(Sampler):
    """Raises for each span."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        del parent_context, trace_id, name, kind, attributes, links, trace_state
        raise RuntimeError("a broken sampler")

    def get_description(self) -> str:
        return "raises"


def broken_provider(where: str) -> TracerProvider:
    if where == "sampler":
        return TracerProvider(sampler=RaisingSampler(), shutdown_on_exit=False)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(RaisingProcessor(where))
    return provider


@pytest.mark.parametrize("where", ["start", "end", "sampler"])
def test_a_broken_processor_or_sampler_costs_spans_and_nothing_else(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    carried: list[int] = []

    async def method(request: bytes, context: Any) -> bytes:
        del context
        carried.append(trace.get_current_span().get_span_context().trace_id)
        return request

    async def main() -> list[bytes]:
        interceptor = server_interceptor(tracer_provider=broken_provider(where))
        async with serving(interceptor, method=method) as channel:
            return [await call(channel) for _ in range(3)]

    with remote_parent() as parent:
        assert asyncio.run(main()) == [b"q"] * 3
    assert carried == [parent.trace_id] * 3
    ours = [record for record in caplog.records if record.name.startswith("linkspan_propagation")]
    assert {record.levelno for record in ours} == {logging.WARNING}


def test_a_filter_that_raises_costs_spans_and_nothing_else(
    receiver: OtlpReceiver, provider: TracerProvider
) -> None:
    def broken_filter(full_method: str) -> bool:
        raise RuntimeError(full_method)

    async def main() -> bytes:
        interceptor = server_interceptor(tracer_provider=provider, record=broken_filter)
        async with serving(interceptor) as channel:
            return await call(channel)

    assert asyncio.run(main()) == b"q"
    assert provider.force_flush()
    assert receiver.spans() == []


def test_without_an_sdk_the_context_is_carried_all_the_same() -> None:
    carried: list[int] = []

    async def method(request: bytes, context: Any) -> bytes:
        del context
        carried.append(trace.get_current_span().get_span_context().span_id)
        return request

    async def main() -> bytes:
        async with serving(server_interceptor(), method=method) as channel:
            return await call(channel)

    with remote_parent() as parent:
        asyncio.run(main())
    assert carried == [parent.span_id]


# --- RPCs that do not get to their handler ------------------------------------------------------


def test_an_rpc_beyond_the_servers_limit_is_a_span_without_a_status(
    receiver: OtlpReceiver, provider: TracerProvider
) -> None:
    """It is refused after the interceptors and before the handler, and gRPC tells nobody why."""

    async def main() -> grpc.StatusCode:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def busy(request: bytes, context: Any) -> bytes:
            del context
            entered.set()
            await leave.wait()
            return request

        def record(full_method: str) -> bool:
            del full_method
            return entered.is_set()

        interceptor = server_interceptor(tracer_provider=provider, record=record)
        async with serving(interceptor, method=busy, maximum_concurrent_rpcs=1) as channel:
            first = asyncio.ensure_future(call(channel))
            await entered.wait()
            try:
                await call(channel)
            except grpc.aio.AioRpcError as error:
                return error.code()
            finally:
                leave.set()
                await first
            return grpc.StatusCode.OK

    with remote_parent() as parent:
        assert asyncio.run(main()) is grpc.StatusCode.RESOURCE_EXHAUSTED
    span = the_span(receiver)
    assert span.parent_span_id == f"{parent.span_id:016x}"
    assert "rpc.response.status_code" not in span.attributes
    assert span.status_code == "UNSET"


class Rejecting(grpc.aio.ServerInterceptor):
    """An interceptor behind ours that raises, or answers for the handler."""

    def __init__(self, how: str) -> None:
        self.how = how

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        del continuation, handler_call_details
        if self.how == "raise":
            raise PermissionError("no")

        async def abort(request: bytes, context: Any) -> None:
            del request
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")

        make: Callable[..., Any] = grpc.unary_unary_rpc_method_handler
        return make(abort)


@pytest.mark.parametrize(
    ("how", "code", "error_type"),
    [("raise", "UNKNOWN", "PermissionError"), ("abort", "UNAUTHENTICATED", None)],
)
def test_an_rpc_that_a_later_interceptor_rejects_is_a_span_that_says_so(
    how: str,
    code: str,
    error_type: str | None,
    receiver: OtlpReceiver,
    provider: TracerProvider,
) -> None:
    async def main() -> str:
        interceptor = server_interceptor(tracer_provider=provider)
        async with serving(interceptor, Rejecting(how)) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel)
            return caught.value.code().name

    assert asyncio.run(main()) == code
    span = the_span(receiver)
    assert span.attributes["rpc.response.status_code"] == code
    assert span.attributes.get("error.type") == error_type


def test_a_span_ends_when_the_server_is_stopped_under_it(
    receiver: OtlpReceiver, provider: TracerProvider
) -> None:
    async def main() -> None:
        entered = asyncio.Event()

        async def hang(request: bytes, context: Any) -> bytes:
            del context
            entered.set()
            await asyncio.Event().wait()
            return request

        server = grpc.aio.server(interceptors=[server_interceptor(tracer_provider=provider)])
        server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    "serving.Serving", {"Echo": grpc.unary_unary_rpc_method_handler(hang)}
                )
            ]
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            calling = asyncio.ensure_future(call(channel))
            await entered.wait()
            await server.stop(None)
            with pytest.raises(grpc.aio.AioRpcError):
                await calling

    asyncio.run(main())
    assert the_span(receiver).attributes["rpc.response.status_code"] == "CANCELLED"


# --- channels -----------------------------------------------------------------------------------


def test_a_traced_channel_is_a_channel() -> None:
    async def main() -> None:
        async with serving() as channel:
            assert isinstance(channel, grpc.aio.Channel)
            await asyncio.wait_for(channel.channel_ready(), 30)
            assert channel.get_state() is grpc.ChannelConnectivity.READY
            waiting = asyncio.ensure_future(
                channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            )
            assert await call(channel) == b"q"
            assert not waiting.done()
            await channel.close()
            await asyncio.wait_for(waiting, 30)
            assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN

    asyncio.run(main())


def test_a_channel_that_is_wrapped_twice_sends_one_traceparent() -> None:
    sent: list[list[Any]] = []

    async def method(request: bytes, context: Any) -> bytes:
        sent.append([key for key, _ in context.invocation_metadata() if key == "traceparent"])
        return request

    async def main() -> None:
        async with serving(method=method) as channel:
            await call(traced_channel(channel))

    with remote_parent():
        asyncio.run(main())
    assert sent == [["traceparent"]]
