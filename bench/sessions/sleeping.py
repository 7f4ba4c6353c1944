"""What sessions cost that nobody uses, and what it costs to use one of them."""

import asyncio
import itertools
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import Section, mebibytes, millis, number, percentile, spread
from bench.http_load import connected, drive
from bench.processes import CpuMeter, Deployment, Valkey, deployed, resident_bytes, valkey
from bench.sessions.client import Client
from bench.sessions.plan import APP, Plan, Population, interleaved, sqlite_in
from bench.sessions.population import populate, wait_asleep

_MAX_LIVE: Final = 1000
_ARGUMENTS: Final = ("--max-live", str(_MAX_LIVE), "--sleep-after", "1")
_CONCURRENCIES: Final = (1, 8)
_LIVE: Final = 32
"""How many sessions take turns when live ones are called; often enough that none falls asleep."""

_MEMORY_TEXT: Final = f"""\
One session server with `{" ".join(_ARGUMENTS)}`. Memory is what is resident of it: when it has
started, when a tenth of the sessions sleep, when all have just been made, when all sleep. What
one session takes there is told from the growth between a tenth and all, since what the first ones
cost is mostly code that runs for the first time. In the store: the file with its log, or what
Valkey says that it uses, by the number of sessions."""

_LATENCY_TEXT: Final = """\
One call of a tool that stores nothing, through the worker: of a session that sleeps and was never
called before, or of one that is live. Milliseconds; CPU is that of the worker, the session server
and the store together."""


@dataclass(frozen=True, slots=True)
class _Store:
    """A store that sessions sleep in.

    Attributes:
        name: What it is called.
        address: Where it is.
        pids: Its processes.
        size: Tells how large it is, in bytes.
    """

    name: str
    address: str
    pids: tuple[int, ...]
    size: Callable[[], int]


async def measure(plan: Plan) -> list[Section]:
    """Measure it; leaves the store of SQLite to others."""
    memory = Section(
        "Sessions asleep: room",
        _MEMORY_TEXT,
        (
            "store",
            "sessions",
            "start, MiB",
            "a tenth asleep, MiB",
            "all made, MiB",
            "all asleep, MiB",
            "a session in memory, bytes",
            "a session in the store, bytes",
            "made a second",
            "CPU of a core, all asleep",
        ),
    )
    latency = Section(
        "Sessions asleep: the next call",
        _LATENCY_TEXT,
        ("store", "at once", "session", "p50", "p99", "a second", "CPU ms a call"),
    )
    folder = plan.folder("sleeping")
    await _measure_store(plan, _sqlite(folder), plan.sleeping, memory, latency)
    with valkey(folder / "valkey", fsync="everysec") as server:
        await _measure_store(plan, _valkey(server), plan.sleeping // 10, memory, latency)
    return [memory, latency]


def _sqlite(folder: Path) -> _Store:
    def size() -> int:
        return sum(path.stat().st_size for path in folder.glob("sessions.db*"))

    return _Store("SQLite", sqlite_in(folder), (), size)


def _valkey(server: Valkey) -> _Store:
    def size() -> int:
        return int(server.info("memory")["used_memory"])

    return _Store("Valkey", server.url, (server.pid,), size)


async def _measure_store(
    plan: Plan, store: _Store, sessions: int, memory: Section, latency: Section
) -> None:
    with ExitStack() as stack:
        running = stack.enter_context(deployed(store.address, APP, *_ARGUMENTS))
        ids = await _fill(plan, running, store, sessions, memory)
        await _call(plan, running, store, ids, latency)
    if not store.pids:
        plan.populations[sessions] = Population(store.address, ids)


async def _fill(
    plan: Plan, running: Deployment, store: _Store, sessions: int, section: Section
) -> list[str]:
    server = running.servers[0]
    pid = server.process.pid
    start, empty = resident_bytes(pid), store.size()
    ids = await populate(server.address, sessions // 10)
    await wait_asleep(server.address, ids[-2 * _MAX_LIVE :])
    tenth, first = resident_bytes(pid), len(ids)
    begun = time.perf_counter()
    ids += await populate(server.address, sessions - first)
    rate = (sessions - first) / (time.perf_counter() - begun)
    made = resident_bytes(pid)
    await wait_asleep(server.address, ids[-2 * _MAX_LIVE :])
    asleep = resident_bytes(pid)
    meter = CpuMeter(session=[pid])
    await asyncio.sleep(plan.idle_seconds)
    idle = meter.spent()["session"] / plan.idle_seconds
    section.rows.append(
        (
            store.name,
            f"{sessions:,}",
            *(mebibytes(each) for each in (start, tenth, made, asleep)),
            number((asleep - tenth) / (sessions - first)),
            number((store.size() - empty) / sessions),
            number(rate),
            f"{idle:.2%}",
        )
    )
    return ids


async def _call(
    plan: Plan, running: Deployment, store: _Store, ids: Sequence[str], section: Section
) -> None:
    """Call sessions that sleep and sessions that are live, in turn."""
    found: defaultdict[tuple[int, str], list[_Latency]] = defaultdict(list)
    untouched = random.sample(ids, len(ids))
    live = [untouched.pop() for _ in range(_LIVE)]
    calls = min(plan.wakes, len(untouched) // (plan.long_rounds * len(_CONCURRENCIES)))
    warm = [untouched.pop() for _ in range(min(50, calls // 10))]
    await _time(running, store, 1, warm)
    for concurrency in interleaved(_CONCURRENCIES, plan.long_rounds):
        asleep = [untouched.pop() for _ in range(calls - len(warm))]
        found[concurrency, "asleep"].append(await _time(running, store, concurrency, asleep))
        await _time(running, store, concurrency, live)
        again = list(itertools.islice(itertools.cycle(live), calls))
        found[concurrency, "live"].append(await _time(running, store, concurrency, again))
    for (concurrency, state), rounds in found.items():
        section.rows.append(
            (
                store.name,
                str(concurrency),
                state,
                spread([each.p50 for each in rounds], millis),
                spread([each.p99 for each in rounds], millis),
                spread([each.per_second for each in rounds], number),
                spread([each.cpu for each in rounds], millis),
            )
        )


@dataclass(frozen=True, slots=True)
class _Latency:
    """One round of calls: seconds, but for `per_second`."""

    p50: float
    p99: float
    per_second: float
    cpu: float


async def _time(
    running: Deployment, store: _Store, concurrency: int, ids: Sequence[str]
) -> _Latency:
    """Call each of the sessions once, in order."""
    left = iter(ids)

    def caller(client: Client) -> Callable[[], Awaitable[None]]:
        async def call_next() -> None:
            await client.echo(next(left))

        return call_next

    async with connected(running.url, concurrency) as connections:
        meter = CpuMeter(
            worker=[running.worker.pid],
            session=[running.servers[0].process.pid],
            store=store.pids,
        )
        callers = [caller(Client(connection)) for connection in connections]
        driven = await drive(callers, times=len(ids))
        cpu = sum(meter.spent().values()) / driven.done
    return _Latency(
        statistics.median(driven.latencies),
        percentile(driven.latencies, 0.99),
        driven.per_second,
        cpu,
    )
