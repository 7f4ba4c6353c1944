"""Whether a request costs more the more session servers there are, and the more sessions."""

import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, TypeAlias

from bench.figures import Section, millis, number, percentile, spread
from bench.http_load import connected, drive
from bench.processes import CpuMeter, Valkey, deployed, valkey
from bench.sessions.client import Client
from bench.sessions.plan import APP, CALLERS, Plan, Population, interleaved, sqlite_in
from bench.sessions.population import populate, wait_asleep

_SERVERS: Final = (1, 3)
_LIVE: Final = 100
_MAX_LIVE: Final = 1000

_EACH_PER_SECOND: Final = 150
"""How many requests a second each session server gets where all get the same."""

_FULL: Final = "as fast as it goes"
_EVEN: Final = f"{_EACH_PER_SECOND} a second for each server"

_TEXT: Final = f"""\
{CALLERS} clients at once call a tool in {_LIVE} live sessions, through one worker; so many
sessions are on record. *reads* stores nothing, *writes* stores one small value, on record before
its answer. CPU milliseconds a request, all session servers together. Two loads: *{_EVEN}*, in
steps of the clock, shows what a request costs where servers are added because there is more to do;
*{_FULL}* shares what two cores can do among three servers, so that each is asked a third as often,
finds fewer messages each time it wakes, and its caches cold."""


_Step: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Arm:
    """A store of a size, and how many session servers there are.

    Attributes:
        store: What the store is called.
        population: The sessions.
        servers: How many session servers.
        pids: The processes of the store.
    """

    store: str
    population: Population
    servers: int
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Round:
    """What one round found: seconds, but for `per_second`."""

    per_second: float
    p99: float
    worker: float
    session: float
    store: float

    @property
    def cpu(self) -> float:
        """CPU seconds a request, of all processes."""
        return self.worker + self.session + self.store


async def measure(plan: Plan) -> Section:
    """Measure it, by store, session servers and sessions."""
    with ExitStack() as stack:
        arms: list[_Arm] = []
        for size in plan.sizes:
            population = await _sqlite(plan, size)
            arms += [_Arm("SQLite", population, servers, ()) for servers in _SERVERS]
        for size in plan.sizes[:-1]:  # the largest takes long to make
            server, population = await _valkey(plan, stack, size)
            arms += [_Arm("Valkey", population, servers, (server.pid,)) for servers in _SERVERS]
        found: defaultdict[tuple[str, str, str, int, int], list[_Round]] = defaultdict(list)
        for arm in interleaved(arms, plan.long_rounds):
            for (load, tool), one in (await _run(plan, arm)).items():
                found[load, arm.store, tool, len(arm.population.ids), arm.servers].append(one)
    section = Section(
        "More session servers, more sessions",
        _TEXT,
        (
            "load",
            "store",
            "the tool",
            "sessions",
            "session servers",
            "requests a second",
            "p99, ms",
            "CPU ms",
            "worker",
            "session servers",
            "store",
        ),
    )
    for (load, store, tool, size, servers), rounds in sorted(found.items()):
        section.rows.append(
            (
                load,
                store,
                tool,
                f"{size:,}",
                str(servers),
                spread([each.per_second for each in rounds], number),
                spread([each.p99 for each in rounds], millis),
                spread([each.cpu for each in rounds], millis),
                spread([each.worker for each in rounds], millis),
                spread([each.session for each in rounds], millis),
                spread([each.store for each in rounds], millis),
            )
        )
    return section


async def _sqlite(plan: Plan, size: int) -> Population:
    """Return a store with so many sessions; one that is there already, or a new one."""
    if size not in plan.populations:
        store = sqlite_in(plan.folder(f"growth-{size}"))
        plan.populations[size] = await _populated(store, size)
    return plan.populations[size]


async def _valkey(plan: Plan, stack: ExitStack, size: int) -> tuple[Valkey, Population]:
    folder = plan.folder(f"growth-valkey-{size}")
    server = stack.enter_context(valkey(folder, fsync="everysec"))
    return server, await _populated(server.url, size)


async def _populated(store: str, size: int) -> Population:
    arguments = ("--max-live", str(_MAX_LIVE), "--sleep-after", "1")
    with deployed(store, APP, *arguments) as running:
        address = running.servers[0].address
        ids = await populate(address, size)
        await wait_asleep(address, ids[-2 * _MAX_LIVE :])
    return Population(store, ids)


async def _run(plan: Plan, arm: _Arm) -> dict[tuple[str, str], _Round]:
    """Start the servers, wake the sessions, and call them."""
    ids = random.Random(0).sample(arm.population.ids, _LIVE)  # noqa: S311 - keeps no secret
    with deployed(arm.population.store, APP, servers=arm.servers) as running:
        pids = {
            "worker": (running.worker.pid,),
            "session": tuple(server.process.pid for server in running.servers),
            "store": arm.pids,
        }
        await _call(running.url, "echo", ids, pids, times=2 * _LIVE)
        await _call(running.url, "keep", ids, pids, times=2 * _LIVE)
        found: dict[tuple[str, str], _Round] = {}
        for load, per_second in ((_EVEN, _EACH_PER_SECOND * arm.servers), (_FULL, None)):
            for name, tool in (("reads", "echo"), ("writes", "keep")):
                found[load, name] = await _call(
                    running.url, tool, ids, pids, per_second=per_second, seconds=plan.seconds
                )
        return found


async def _call(
    url: str,
    tool: str,
    ids: Sequence[str],
    pids: dict[str, tuple[int, ...]],
    *,
    per_second: float | None = None,
    seconds: float | None = None,
    times: int | None = None,
) -> _Round:
    """Call a tool in sessions; as fast as it goes, or so often a second."""
    async with connected(url, CALLERS) as connections:
        callers = [
            _caller(Client(connection), tool, ids[number::CALLERS])
            for number, connection in enumerate(connections)
        ]
        latencies: list[float] = []
        start = time.perf_counter()
        steps = [
            _timed(call, latencies)
            if per_second is None
            else _paced(
                _timed(call, latencies),
                first=start + number / per_second,
                every=CALLERS / per_second,
            )
            for number, call in enumerate(callers)
        ]
        meter = CpuMeter(**pids)
        driven = await drive(steps, seconds=seconds, times=times)
        cpu = {name: spent / driven.done for name, spent in meter.spent().items()}
    return _Round(driven.per_second, percentile(latencies, 0.99), **cpu)


def _caller(client: Client, tool: str, ids: Sequence[str]) -> _Step:
    """Make what calls sessions in turn."""
    turn = itertools.cycle(ids)

    async def call_next() -> None:
        session_id = next(turn)
        await (client.echo(session_id) if tool == "echo" else client.keep(session_id))

    return call_next


def _timed(step: _Step, latencies: list[float]) -> _Step:
    """Make what takes a step and notes how long it took, in seconds."""

    async def take() -> None:
        begun = time.perf_counter()
        await step()
        latencies.append(time.perf_counter() - begun)

    return take


def _paced(step: _Step, *, first: float, every: float) -> _Step:
    """Make what waits for its moment and takes a step; moments are seconds of `perf_counter`."""
    moments = itertools.count(first, every)

    async def wait_and_take() -> None:
        await asyncio.sleep(max(0.0, next(moments) - time.perf_counter()))
        await step()

    return wait_and_take
