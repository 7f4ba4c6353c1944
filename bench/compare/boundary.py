"""The way between two services alone, without HTTP and MCP: what a tunnel saves, what tracing costs.

Above lies `benches`; below lie `bench.tunnel` and `bench.propagation`, which have commands of their
own and measure more forms and loads than these.
"""

import asyncio
import time
from typing import Any, Final

import grpc

from bench.compare.plan import Plan, interleaved
from bench.compare.samples import Arms, Loads, Sample
from bench.processes import script
from bench.propagation.forms import Form, forms, start_aio
from bench.propagation.measuring import aio_slice, below_a_span
from bench.tunnel.measuring import LOADS as TUNNEL_LOADS
from bench.tunnel.measuring import Figures, caller, drive
from linkspan_tunnel import TunnelChannel

BARE: Final = "bare gRPC"
TUNNEL: Final = "tunnel"
ECHO_32: Final = "unary, 32 at once"

_CLIENTS: Final = (1, 32)

INTERCEPTED: Final = "context alone, by interceptors"
_COMPARED: Final = (
    BARE,
    "bare gRPC, sending a traceparent",
    "context alone, by the two lines",
    INTERCEPTED,
    "SERVER and CLIENT spans of the SDK",
    "contrib, no SDK",
    "contrib, spans of the SDK",
)
_AT_ONCE: Final = 32
_CALLS: Final = 640
_SLICES: Final = 6
"""How many slices each round has: a slice is short, so that what is compared meets the same machine."""


async def tunnelled(plan: Plan) -> Loads:
    """Measure calls of an echo in another process, through a tunnel and without."""
    loads = [each for each in TUNNEL_LOADS if each.size_bytes <= 100]  # noqa: PLR2004 - the small
    found: Loads = {}
    with script("-m", "bench.tunnel.echo", ready="grpc") as (address, pid):
        bare = grpc.aio.insecure_channel(address)
        tunnel = TunnelChannel(
            grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
        )
        for load in loads:
            ways = [(BARE, caller(bare, load)), (TUNNEL, caller(tunnel, load))]
            for clients in _CLIENTS:
                arms: Arms = {name: [] for name, _ in ways}
                for _, call in ways:
                    await drive(call, load, clients, plan.warm_seconds, pid)
                for turn in interleaved(ways, plan.rounds):
                    for name, call in turn:
                        taken = await drive(call, load, clients, plan.seconds, pid)
                        arms[name].append(_sample(taken))
                found[f"{load.name}, {clients} at once"] = arms
        await tunnel.close()
        await bare.close()
    return found


def _sample(figures: Figures) -> Sample:
    return Sample(
        per_second=figures.calls_per_second,
        p50=figures.p50_micros / 1e6,
        p99=figures.p99_micros / 1e6,
        cpu=(figures.client_micros + figures.server_micros) / 1e6,
        client_cpu=figures.client_micros / 1e6,
        resident=0.0,
    )


async def propagated(plan: Plan) -> Loads:
    """Measure calls of an echo in this process, with trace context carried in each of some ways."""
    # In a task of its own, for it makes a span the current one.
    return await asyncio.create_task(_propagated(plan))


async def _propagated(plan: Plan) -> Loads:
    below_a_span()
    compared = [form for form in forms() if form.name in _COMPARED]
    running: list[tuple[Form, grpc.aio.Server, Any]] = []
    for form in compared:
        server, call = await start_aio(form)
        running.append((form, server, call))
    arms: Arms = {form.name: [] for form in compared}
    for _, _, call in running:
        await aio_slice(call, _CALLS, _AT_ONCE)
    for turn in interleaved(running, plan.rounds * _SLICES):
        for form, _, call in turn:
            begun = time.perf_counter()
            cpu = await aio_slice(call, _CALLS, _AT_ONCE) / 1e6
            seconds = time.perf_counter() - begun
            each = seconds / _CALLS * _AT_ONCE
            arms[form.name].append(Sample(_CALLS / seconds, each, each, cpu, cpu, 0.0))
    for _, server, _ in running:
        await server.stop(0)
    return {ECHO_32: arms}
