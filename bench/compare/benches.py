"""What is measured, by name: which arms take turns in which loads.

Above lies `__main__`; below lie `course` and `listening`. Each bench returns its samples; what they
mean is for `pages` and `aims` to say.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from bench.compare import boundary
from bench.compare.arms import FASTMCP, Arm, peers
from bench.compare.asking import Wording, calling, echoing, listing
from bench.compare.course import Arrived, Load, anew, measured, steady
from bench.compare.deployments import MEMORY_FOLDER, Setup, linkspan
from bench.compare.driving import open_sessions
from bench.compare.lines import connected
from bench.compare.listening import fanned_out
from bench.compare.plan import TOOLS, Plan, interleaved
from bench.compare.samples import Loads, Sample

FEW_TOOLS: Final = 5
"""How many tools there are where a server is made for each session, as the TypeScript SDK does."""

CALL: Final = "tools/call"
_TEXT_10K: Final = "abcdefghij" * 1_000
_TEXT_1M: Final = "abcdefghij" * 100_000

_BATCH: Final = 100
"""How many sessions are opened on so many connections, at the same time."""

_MOST: Final = {FASTMCP: 9_000}
"""How many sessions can be kept open: FastMCP refuses more than 10,000, without a setting."""


def at(name: str, clients: int) -> str:
    """Name a load."""
    return f"{name}, {clients} at once"


def _load(name: str, clients: int, wording: Callable[[str], Wording]) -> Load:
    return Load(at(name, clients), clients, wording)


CALLS: Final = [_load(CALL, clients, echoing) for clients in (1, 32, 256)]
CALL_1, CALL_32, CALL_256 = (load.name for load in CALLS)

LIST: Final = _load("tools/list", 32, partial(listing, TOOLS))
PAYLOADS: Final = [
    LIST,
    _load("10 kB", 32, lambda kind: calling("text10k", _TEXT_10K, kind=kind)),
    _load("1 MB", 8, lambda kind: calling("text1m", _TEXT_1M, kind=kind)),
]
INITIALIZE: Final = at("initialize", 32)
HANDSHAKE: Final = at("handshake", 32)
CREATIONS: Final = [Load(INITIALIZE, 32, whole=False), Load(HANDSHAKE, 32)]
FAN_OUT: Final = "notifications"
MEMORY_BEFORE: Final = "before"
MEMORY_AFTER: Final = "after"

TRACING: Final[dict[str, float | None]] = {"off": None, "1 %": 0.01, "100 %": 1.0}
STORES: Final = {"SQLite": "SQLite", "SQLite in memory": "memory", "Valkey": "Valkey"}
CORES: Final = {
    "1 worker, 1 session server": (1, 1),
    "1 worker, 2 session servers": (1, 2),
    "2 workers, 2 session servers": (2, 2),
}


@dataclass(slots=True)
class Outcome:
    """What a bench found.

    Attributes:
        loads: Its samples.
        arrived: Of servers that send spans, how many of them came.
        opened: Where sessions are kept open, how many, by arm.
    """

    loads: Loads
    arrived: dict[str, Arrived] = field(default_factory=dict[str, Arrived])
    opened: dict[str, int] = field(default_factory=dict[str, int])


def _everyone(*kinds: str) -> list[Arm]:
    return [*linkspan("Linkspan", *kinds), *peers(*kinds)]


async def calls(plan: Plan) -> Outcome:
    """Calls of a small tool, by how many clients there are."""
    arms = _everyone("JSON", "SSE")
    return Outcome(*await steady(plan, arms, CALLS, tools=TOOLS, rounds=plan.rounds))


async def payloads(plan: Plan) -> Outcome:
    """Answers that are longer."""
    arms = _everyone("JSON", "SSE")
    return Outcome(*await steady(plan, arms, PAYLOADS, tools=TOOLS, rounds=plan.long_rounds))


async def creation(plan: Plan) -> Outcome:
    """Sessions made."""
    arms = _everyone("JSON", "SSE")
    return Outcome(await anew(plan, arms, CREATIONS, tools=FEW_TOOLS, rounds=plan.rounds))


async def streams(plan: Plan) -> Outcome:
    """Notifications to many that listen."""
    arms = _everyone("JSON")
    found: dict[str, list[Sample]] = {arm.label: [] for arm in arms}
    for turn in interleaved(arms, plan.long_rounds):
        for arm in turn:
            with arm.start(plan.folder("data"), FEW_TOOLS) as running:
                found[arm.label].append(await fanned_out(plan, running, arm.kind))
    return Outcome({FAN_OUT: found})


async def tracing(plan: Plan) -> Outcome:
    """The same calls, with and without spans."""
    arms: list[Arm] = []
    for name, share in TRACING.items():
        arms += linkspan(f"tracing {name}", "JSON", "SSE", setup=Setup(tracing=share))
    loads = [load for load in CALLS if load.clients <= 32]  # noqa: PLR2004 - 1 and 32
    return Outcome(*await steady(plan, arms, loads, tools=FEW_TOOLS, rounds=plan.rounds))


async def stores(plan: Plan) -> Outcome:
    """The same calls, and sessions made, by store."""
    arms: list[Arm] = []
    for name, store in STORES.items():
        if store != "memory" or MEMORY_FOLDER.is_dir():
            arms += linkspan(name, "JSON", setup=Setup(store=store))
    loads = [load for load in CALLS if load.name == CALL_32] + CREATIONS[:1]
    return Outcome((await steady(plan, arms, loads, tools=FEW_TOOLS, rounds=plan.rounds))[0])


async def cores(plan: Plan) -> Outcome:
    """The same calls, by how many processes there are."""
    arms: list[Arm] = []
    for name, (workers, sessions) in CORES.items():
        arms += linkspan(name, "JSON", setup=Setup(workers=workers, sessions=sessions))
    loads = [load for load in CALLS if load.clients > 1]
    return Outcome((await steady(plan, arms, loads, tools=FEW_TOOLS, rounds=plan.rounds))[0])


async def memory(plan: Plan) -> Outcome:
    """Memory of live sessions."""
    before: dict[str, list[Sample]] = {}
    after: dict[str, list[Sample]] = {}
    opened: dict[str, int] = {}
    for arm in _everyone("JSON"):
        batches = min(plan.live, _MOST.get(arm.name, plan.live)) // _BATCH
        opened[arm.label] = batches * _BATCH
        with arm.start(plan.folder("data"), FEW_TOOLS) as running:
            # What code takes that runs for the first time is no memory of sessions.
            used = await measured(running, arm.kind, CALLS[1], seconds=1.0, warm_seconds=0.1)
            async with connected(running.urls, _BATCH) as lines:
                urls = [running.urls[0]] * _BATCH
                for _ in range(batches):
                    await open_sessions(lines, urls, arm.kind)
                await asyncio.sleep(0.5)  # what is to be freed may be freed
            full = await measured(running, arm.kind, CALLS[0], seconds=0.2, warm_seconds=0.1)
            before[arm.label], after[arm.label] = [used], [full]
    return Outcome({MEMORY_BEFORE: before, MEMORY_AFTER: after}, opened=opened)


async def tunnel(plan: Plan) -> Outcome:
    """Calls between two processes, through a tunnel and without."""
    return Outcome(await boundary.tunnelled(plan))


async def propagation(plan: Plan) -> Outcome:
    """Calls that carry a trace context, and calls that do not."""
    return Outcome(await boundary.propagated(plan))


BENCHES: Final[dict[str, Callable[[Plan], Awaitable[Outcome]]]] = {
    "calls": calls,
    "payloads": payloads,
    "creation": creation,
    "streams": streams,
    "tracing": tracing,
    "stores": stores,
    "cores": cores,
    "memory": memory,
    "tunnel": tunnel,
    "propagation": propagation,
}
"""In the order of the page."""
