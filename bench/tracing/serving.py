"""What two spans a request cost a busy event loop, with all of them sent to another process."""

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final, cast

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Tracer

from bench.figures import Section, number, percentile, spread
from bench.tracing.providers import ATTRIBUTES, lean, sdk

_CONNECTIONS: Final = 32
_MESSAGE: Final = b"x" * 200


class _Server(asyncio.Protocol):
    """Answers each message with itself, inside two spans."""

    def __init__(self, tracer: Tracer | None) -> None:
        self._tracer = tracer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        tracer = self._tracer
        if tracer is None:
            self._transport.write(data)
            return
        outer = tracer.start_span("mcp.request", None, SpanKind.SERVER, ATTRIBUTES)
        context = trace.set_span_in_context(outer)
        inner = tracer.start_span("tools/call", context, attributes=ATTRIBUTES)
        self._transport.write(data)
        inner.end()
        outer.end()


class _Client(asyncio.Protocol):
    """Sends a message, waits for it to come back, and sends the next."""

    def __init__(self, taken: list[float]) -> None:
        self._taken = taken
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(_MESSAGE)

    def data_received(self, data: bytes) -> None:
        del data
        self._taken.append(time.perf_counter() - self._sent)
        self._send()


@asynccontextmanager
async def _serving(tracer: Tracer | None) -> AsyncGenerator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Server(tracer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def _load(tracer: Tracer | None, seconds: float) -> list[float]:
    """Return how long each request of a load took, in seconds."""
    taken: list[float] = []
    loop = asyncio.get_running_loop()
    async with _serving(tracer) as port:
        clients = [
            await loop.create_connection(lambda: _Client(taken), "127.0.0.1", port)
            for _ in range(_CONNECTIONS)
        ]
        await asyncio.sleep(seconds)
        for transport, _ in clients:
            transport.abort()
    return taken


async def measure(rounds: int, seconds: float, endpoint: str) -> Section:
    """Measure, the three taking turns."""
    section = Section(
        "Serving",
        f"An event loop that echoes {len(_MESSAGE)} bytes over TCP to {_CONNECTIONS} clients of its "
        "own, in two spans with five attributes each, all sampled and sent over OTLP/gRPC to another "
        "process while it serves. A ratio is to no tracing in the same round.",
        ("", "requests/s", "ratio", "µs a span", "p99, ms", "spans lost"),
    )
    lean_provider, sdk_provider = lean(endpoint), sdk(endpoint)
    tracers: dict[str, Tracer | None] = {
        "no tracing": None,
        "lean": lean_provider.get_tracer("t"),
        "SDK": sdk_provider.get_tracer("t"),
    }
    flush: dict[str, Callable[[], bool]] = {
        "lean": lean_provider.force_flush,
        "SDK": sdk_provider.force_flush,
    }
    taken: dict[str, list[list[float]]] = {name: [] for name in tracers}
    for _, name in itertools.product(range(rounds), tracers):
        taken[name].append(await _load(tracers[name], seconds))
        if name in flush:
            await asyncio.to_thread(flush[name])
    for name, rounds_taken in taken.items():
        rates = [len(times) / seconds for times in rounds_taken]
        bare = [len(times) / seconds for times in taken["no tracing"]]
        costs = [(1 / rate - 1 / free) / 2 * 1e6 for rate, free in zip(rates, bare, strict=True)]
        section.rows.append(
            (
                name,
                spread(rates, number),
                spread([rate / free for rate, free in zip(rates, bare, strict=True)], number),
                spread(costs, lambda micros: f"{micros:.1f}") if name in flush else "",
                spread([percentile(times, 0.99) * 1000 for times in rounds_taken], number),
                str(sum(lean_provider.dropped_spans().values())) if name == "lean" else "",
            )
        )
    lean_provider.shutdown()
    sdk_provider.shutdown()
    return section
