"""Measures calls through a tunnel against the same calls without, in turns, and prints a table.

Run as `python -m bench.tunnel`, from the repository. The client is this process, the server another
one; both run uvloop. Each call carries one traceparent and a deadline; each answer is checked.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import uvloop

from bench.figures import Section, number, percentile, spread
from bench.processes import cpu_seconds, script
from bench.tunnel.echo import SERVICE
from linkspan_tunnel import TunnelChannel

_TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_METADATA: Final = (("traceparent", _TRACEPARENT),)
_TIMEOUT_SECONDS: Final = 60.0
_CONCURRENCIES: Final = (1, 32, 256)

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


def _call(channel: grpc.aio.Channel, load: Load) -> Call:
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


async def _round(call: Call, load: Load, concurrency: int, seconds: float, pid: int) -> Figures:
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


async def _measure(rounds: int, seconds: float) -> str:
    columns = (
        "calls",
        "at once",
        "tunnel : bare, calls/s",
        "calls/s, bare",
        "calls/s, tunnel",
        "p50 in µs, bare / tunnel",
        "p99 in µs, bare / tunnel",
        "CPU µs client + server, bare",
        "CPU µs client + server, tunnel",
    )
    section = Section(
        "What a tunnel saves",
        f"Medians over {rounds} rounds of {seconds} s, in turns, with the least and the greatest; the"
        " ratio is that of rounds next to each other.",
        columns,
    )
    with script("-m", "bench.tunnel.echo", ready="grpc") as (address, pid):
        bare = grpc.aio.insecure_channel(address)
        tunnel = TunnelChannel(
            grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
        )
        plan = [(load, at_once) for load in LOADS for at_once in _CONCURRENCIES]
        for load, at_once in [*plan, (LARGE, 1), (LARGE, 8)]:
            calls = (_call(bare, load), _call(tunnel, load))
            for call in calls:
                await _round(call, load, at_once, min(0.2, seconds), pid)
            pairs = [
                [await _round(call, load, at_once, seconds, pid) for call in calls]
                for _ in range(rounds)
            ]
            section.rows.append(_row(load, at_once, pairs))
            sys.stderr.write(f"{section.rows[-1]}\n")
        await tunnel.close()
        await bare.close()
    return section.markdown()


def _row(load: Load, at_once: int, pairs: list[list[Figures]]) -> tuple[str, ...]:
    bare, tunnel = ([pair[way] for pair in pairs] for way in (0, 1))
    ratios = [pair[1].calls_per_second / pair[0].calls_per_second for pair in pairs]
    return (
        load.name,
        str(at_once),
        spread(ratios, number),
        spread([each.calls_per_second for each in bare], number),
        spread([each.calls_per_second for each in tunnel], number),
        " / ".join(number(statistics.median(e.p50_micros for e in way)) for way in (bare, tunnel)),
        " / ".join(number(statistics.median(e.p99_micros for e in way)) for way in (bare, tunnel)),
        *(_cpu(way) for way in (bare, tunnel)),
    )


def _cpu(figures: list[Figures]) -> str:
    client = statistics.median(each.client_micros for each in figures)
    server = statistics.median(each.server_micros for each in figures)
    return f"{number(client)} + {number(server)}"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.tunnel", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each round is")
    options = parser.parse_args()
    print(uvloop.run(_measure(options.rounds, options.seconds)))


if __name__ == "__main__":
    main()
