"""Servers and channels in each of the forms that are compared.

All are in this process and echo one message. Below lies gRPC; above lies `__main__`.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import grpc
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from linkspan_propagation import (
    ClientOptions,
    ServerOptions,
    client_interceptors,
    contrib_client_interceptors,
    contrib_server_interceptor,
    contrib_sync_client_channel,
    contrib_sync_server_interceptor,
    server_interceptor,
    sync_client_interceptor,
    sync_server_interceptor,
    traced_channel,
    traced_server,
)

SERVICE: Final = "bench.Bench"
METHOD: Final = f"/{SERVICE}/Echo"
TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"


class Nowhere(SpanExporter):
    """Takes spans and does nothing with them: what is left is the price of making them."""

    def export(self, spans: Any) -> SpanExportResult:
        """Take them."""
        del spans
        return SpanExportResult.SUCCESS


@dataclass(frozen=True, slots=True)
class Form:
    """A way to trace.

    Attributes:
        name: for the table.
        way: `bare`, `bare sending` (by hand, read by nobody), `lines` (`traced_server` and
            `traced_channel`), `interceptors` or `contrib`.
        server: what the server records.
        client: what the client records.
        provider: where contrib's spans go; None for nowhere.
    """

    name: str
    way: str
    server: ServerOptions
    client: ClientOptions
    provider: TracerProvider | None = None


def forms() -> list[Form]:
    """Return what is compared; the first is what the others are compared with."""
    recording = TracerProvider(shutdown_on_exit=False)
    recording.add_span_processor(BatchSpanProcessor(Nowhere()))
    unsampling = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    spans = ServerOptions(tracer_provider=recording)
    measured = ServerOptions(metrics=True, meter_provider=meters)
    everything = ServerOptions(
        tracer_provider=recording, metrics=True, meter_provider=meters, traceresponse=True
    )
    client_everything = ClientOptions(
        spans=True, tracer_provider=recording, metrics=True, meter_provider=meters
    )
    return [
        Form("bare gRPC", "bare", {}, {}),
        Form("bare gRPC, sending a traceparent", "bare sending", {}, {}),
        Form("context alone, by the two lines", "lines", {}, {}),
        Form("context alone, by interceptors", "interceptors", {}, {}),
        Form("unsampled spans", "lines", ServerOptions(tracer_provider=unsampling), {}),
        Form("metrics, no spans", "lines", measured, {}),
        Form("SERVER spans of the SDK", "lines", spans, {}),
        Form(
            "SERVER and CLIENT spans of the SDK",
            "lines",
            spans,
            ClientOptions(spans=True, tracer_provider=recording),
        ),
        Form("both, metrics, traceresponse", "lines", everything, client_everything),
        Form("contrib, no SDK", "contrib", {}, {}),
        Form("contrib, spans of the SDK", "contrib", {}, {}, recording),
    ]


async def echo(request: bytes, context: Any) -> bytes:
    """Answer with the request."""
    del context
    return request


def echo_sync(request: bytes, context: Any) -> bytes:
    """Answer with the request."""
    del context
    return request


def _handlers(method: Any) -> list[grpc.GenericRpcHandler]:
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(method)
    return [grpc.method_handlers_generic_handler(SERVICE, {"Echo": handler})]


async def start_aio(form: Form) -> tuple[grpc.aio.Server, Callable[[bytes], Any]]:
    """Start a server of `grpc.aio`, and return it and what calls it."""
    interceptors: list[grpc.aio.ServerInterceptor] = []
    if form.way == "interceptors":
        interceptors = [server_interceptor(**form.server)]
    elif form.way == "contrib":
        interceptors = [contrib_server_interceptor(tracer_provider=form.provider)]
    server = grpc.aio.server(interceptors=interceptors)
    if form.way == "lines":
        server = traced_server(server, **form.server)
    server.add_generic_rpc_handlers(_handlers(echo))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    if form.way == "interceptors":
        channel = grpc.aio.insecure_channel(target, interceptors=client_interceptors(**form.client))
    elif form.way == "contrib":
        channel = grpc.aio.insecure_channel(
            target, interceptors=contrib_client_interceptors(tracer_provider=form.provider)
        )
    else:
        channel = grpc.aio.insecure_channel(target)
        if form.way == "lines":
            channel = traced_channel(channel, **form.client)
    return server, _calls(channel, form)


def start_sync(form: Form) -> tuple[grpc.Server, Callable[[bytes], Any]]:
    """Start a sync server, and return it and what calls it."""
    interceptors: list[grpc.ServerInterceptor] = []
    if form.way == "interceptors":
        interceptors = [sync_server_interceptor(**form.server)]
    elif form.way == "contrib":
        interceptors = [contrib_sync_server_interceptor(tracer_provider=form.provider)]
    server = grpc.server(ThreadPoolExecutor(8), interceptors=interceptors)
    if form.way == "lines":
        server = traced_server(server, **form.server)
    server.add_generic_rpc_handlers(_handlers(echo_sync))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    channel = grpc.insecure_channel(target)
    if form.way == "interceptors":
        channel = grpc.intercept_channel(channel, sync_client_interceptor(**form.client))
    elif form.way == "contrib":
        channel = contrib_sync_client_channel(channel, tracer_provider=form.provider)
    elif form.way == "lines":
        channel = traced_channel(channel, **form.client)
    return server, _calls(channel, form)


def _calls(channel: Any, form: Form) -> Callable[[bytes], Any]:
    calls: Callable[..., Any] = channel.unary_unary(METHOD)
    if form.way != "bare sending":
        return calls
    ids = itertools.count(1)

    def call(request: bytes) -> Any:
        metadata = (("traceparent", f"00-{TRACE_ID}-{next(ids):016x}-01"),)
        return calls(request, metadata=metadata)

    return call
