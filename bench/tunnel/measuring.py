"""One round of calls, through a channel of any kind: the loads, the calls, the figures.

Above lie `__main__` and `bench.compare`; below lies gRPC. Each call carries one traceparent and a
deadline; each answer is checked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc

from bench.figures import percentile
from bench.processes import cpu_seconds
from bench.tunnel.echo import SERVICE

_TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_METADATA: Final = (("traceparent", _TRACEPARENT),)
_TIMEOUT_SECONDS: Final = 60.0

Call = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Load:
    """What is called.

    Attributes:
        name: What it is, for the table.
        method: The method.
        answers: How many messages come back.
        size_bytes: How large requests and answers are.
    """

    name: str
    method: str
    answers: int
    size_bytes: int


LOADS: Final = (
    Load("unary", "Once", 1, 100),
    Load("unary-stream, one message", "One", 1, 100),
    Load("unary-stream, two messages", "Two", 2, 100),
    Load("unary, 10 kB", "Once", 1, 10_000),
)
LARGE: Final = Load("unary, 1 MB", "Once", 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of one round.

    Attributes:
        calls_per_second: How many calls ended.
        client_micros: CPU time of the client for each call.
        server_micros: CPU time of the server for each call.
        p50_micros: The median time of a call.
        p99_micros: What 99 of 100 calls did not exceed.
    """

    calls_per_second: float
    client_micros: float
    server_micros: float
    p50_micros: float
    p99_micros: float


def caller(channel: grpc.aio.Channel, load: Load) -> Call:
    """Return what makes one call and checks its answer."""
    wanted = [load.size_bytes] * load.answers
    make: Any

    async def unary(request: bytes) -> None:
        answer = await make(request, timeout=_TIMEOUT_SECONDS, metadata=_METADATA)
        if answer != request:
            raise RuntimeError("a wrong answer")

    async def stream(request: bytes) -> None:
        rpc = make(request, timeout=_TIMEOUT_SECONDS, metadata=_METADATA)
        if [len(answer) async for answer in rpc if answer == request] != wanted:
            raise RuntimeError("a wrong answer")

    path = f"/{SERVICE}/{load.method}"
    is_unary = load.method == "Once"
    factory: Callable[..., Any] = channel.unary_unary if is_unary else channel.unary_stream
    make = factory(path)
    return unary if is_unary else stream


async def drive(call: Call, load: Load, concurrency: int, seconds: float, pid: int) -> Figures:
    """Call in closed loops for so long."""
    request = bytes(range(256)) * (load.size_bytes // 256 + 1)
    request = request[: load.size_bytes]
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def loop() -> None:
        while (start := time.perf_counter()) < end:
            await call(request)
            took.append(time.perf_counter() - start)

    server_before, client_before = cpu_seconds(pid), time.process_time()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(loop())
    lasted = time.perf_counter() - began
    count = len(took)
    return Figures(
        calls_per_second=count / lasted,
        client_micros=(time.process_time() - client_before) / count * 1e6,
        server_micros=(cpu_seconds(pid) - server_before) / count * 1e6,
        p50_micros=percentile(took, 0.5) * 1e6,
        p99_micros=percentile(took, 0.99) * 1e6,
    )
