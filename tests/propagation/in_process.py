"""Servers and clients of both kinds in this process, and what they record, for tests of options.

A server of grpc.aio runs in a thread with a loop of its own, so that one test can call either.
"""

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import grpc
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
)
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

Kind: TypeAlias = Literal["aio", "sync"]
KINDS: Final[tuple[Kind, ...]] = ("aio", "sync")
SERVICE: Final = "plain.Plain"
ECHO: Final = f"/{SERVICE}/Echo"
_WAIT_SECONDS: Final = 30.0


class Ended(SpanProcessor):
    """Keeps the spans that have ended, and waits for them."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []
        self._changed = threading.Condition()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep it."""
        with self._changed:
            self._spans.append(span)
            self._changed.notify_all()

    def wait_for(self, number: int) -> list[ReadableSpan]:
        """Return so many spans, in the order in which they ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._spans) >= number, _WAIT_SECONDS), (
                f"{len(self._spans)} spans instead of {number}"
            )
            assert len(self._spans) == number
            return list(self._spans)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where a test has spans and metrics go."""

    ended: Ended = field(default_factory=Ended)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    tracer_provider: TracerProvider = field(
        default_factory=lambda: TracerProvider(shutdown_on_exit=False)
    )

    def __post_init__(self) -> None:
        self.tracer_provider.add_span_processor(self.ended)

    def span(self) -> ReadableSpan:
        """Wait for the one span."""
        (span,) = self.ended.wait_for(1)
        return span

    def meter_provider(self) -> MeterProvider:
        return MeterProvider([self.reader], shutdown_on_exit=False)

    def metric(self) -> tuple[Metric, list[HistogramDataPoint]]:
        """Return the one metric and its points."""
        data = self.reader.get_metrics_data()
        assert data is not None
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        points = [
            point for point in metric.data.data_points if isinstance(point, HistogramDataPoint)
        ]
        return metric, points


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def generic_handlers(methods: Mapping[str, Any]) -> list[grpc.GenericRpcHandler]:
    """Return handlers of ``SERVICE``; names that end in ``Stream`` have many responses."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for name, method in methods.items():
        make: Callable[..., grpc.RpcMethodHandler[Any, Any]] = (
            grpc.unary_stream_rpc_method_handler
            if name.endswith("Stream")
            else grpc.unary_unary_rpc_method_handler
        )
        handlers[name] = make(method)
    return [grpc.method_handlers_generic_handler(SERVICE, handlers)]


def echo_sync(request: bytes, context: Any) -> bytes:
    """Answer with the request."""
    del context
    return request


async def echo(request: bytes, context: Any) -> bytes:
    """Answer with the request."""
    del context
    return request


@contextmanager
def serving_sync(
    methods: Mapping[str, Any] | None = None,
    *,
    trace: Callable[[grpc.Server], grpc.Server] = lambda server: server,
    interceptors: Sequence[grpc.ServerInterceptor] = (),
    maximum_concurrent_rpcs: int | None = None,
) -> Generator[int]:
    """Run a sync server while the block runs, and give its port."""
    server = trace(
        grpc.server(
            ThreadPoolExecutor(4),
            interceptors=list(interceptors),
            maximum_concurrent_rpcs=maximum_concurrent_rpcs,
        )
    )
    server.add_generic_rpc_handlers(generic_handlers(methods or {"Echo": echo_sync}))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(1).wait(_WAIT_SECONDS)


@contextmanager
def serving_aio(
    methods: Mapping[str, Any] | None = None,
    *,
    trace: Callable[[grpc.aio.Server], grpc.aio.Server] = lambda server: server,
) -> Generator[int]:
    """Run a server of grpc.aio in a thread while the block runs, and give its port."""
    started = threading.Event()
    port = 0
    stop: asyncio.Event | None = None
    loop: asyncio.AbstractEventLoop | None = None

    async def serve() -> None:
        nonlocal port, stop, loop
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        server = trace(grpc.aio.server(ThreadPoolExecutor(4)))
        server.add_generic_rpc_handlers(generic_handlers(methods or {"Echo": echo}))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        started.set()
        await stop.wait()
        await server.stop(1)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(_WAIT_SECONDS)
    try:
        yield port
    finally:
        assert loop is not None
        assert stop is not None
        loop.call_soon_threadsafe(stop.set)
        thread.join(_WAIT_SECONDS)
