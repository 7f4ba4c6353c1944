"""How many sessions can be made in a second, on record before the client hears of them."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.figures import Section, millis, number, spread
from bench.http_load import connected, drive
from bench.processes import CpuMeter, deployed, script, valkey
from bench.sessions.client import Client
from bench.sessions.plan import APP, CALLERS, Plan, interleaved, sqlite_in
from bench.sessions.population import count_sessions, init_new, service_at

_TEXT: Final = f"""\
{CALLERS} clients at once, {{creations}} sessions for each figure, processes and stores new in each
round. *Handshake*: `initialize` and `notifications/initialized`. *initialize*: that alone. *Init*:
the RPC alone, at the session server itself. Through Linkspan each session is on record when it is
answered; afterwards the store was asked how many it has. The SDK keeps its sessions in memory; JSON
is what Linkspan answers with, too, an event stream is the SDK's default. CPU is that of all
processes that serve, for one session."""

_PEER: Final = str(Path(__file__).parent / "sdk_peer.py")


@dataclass(frozen=True, slots=True)
class _Arm:
    """One way to serve.

    Attributes:
        name: What it is called.
        run: Starts it, with its data in a folder, until the block is left.
    """

    name: str
    run: "Callable[[Path], AbstractContextManager[_Running]]"


@dataclass(frozen=True, slots=True)
class _Running:
    """One way to serve, running.

    Attributes:
        url: Where MCP clients post to.
        pids: Its processes.
        address: Its session server; empty if it has none.
    """

    url: str
    pids: tuple[int, ...]
    address: str = ""


@dataclass(frozen=True, slots=True)
class _Round:
    """What one round found: CPU in seconds a session."""

    per_second: float
    cpu: float
    client_cpu: float


async def measure(plan: Plan) -> Section:
    """Measure it, by store, and for the SDK alone."""
    arms = [
        _Arm("Linkspan, SQLite", _with_sqlite),
        _Arm("Linkspan, Valkey", _with_valkey),
        _Arm("SDK alone, JSON", partial(_alone, "json")),
        _Arm("SDK alone, event stream", partial(_alone, "sse")),
    ]
    found: defaultdict[tuple[str, str], list[_Round]] = defaultdict(list)
    recorded = 0
    for number_of_run, arm in enumerate(interleaved(arms, plan.rounds)):
        with arm.run(plan.folder(f"creation-{number_of_run}")) as running:
            kinds = ("handshake", "initialize", *(["Init"] if running.address else []))
            await _make(running, "handshake", plan.creations // 10)
            for kind in kinds:
                found[arm.name, kind].append(await _make(running, kind, plan.creations))
            made = plan.creations // 10 + len(kinds) * plan.creations
            if running.address:
                on_record = await count_sessions(running.address)
                if on_record != made:
                    raise AssertionError(f"{arm.name}: {on_record} on record of {made} made")
                recorded += on_record
    section = Section(
        "Sessions made",
        _TEXT.format(creations=plan.creations),
        ("", "what", "a second", "CPU ms each", "of the load generator, ms each"),
    )
    for (name, kind), rounds in found.items():
        section.rows.append(
            (
                name,
                kind,
                spread([each.per_second for each in rounds], number),
                spread([each.cpu for each in rounds], millis),
                spread([each.client_cpu for each in rounds], millis),
            )
        )
    section.notes.append(f"All {recorded:,} sessions made through Linkspan were on record.")
    return section


@contextmanager
def _with_sqlite(folder: Path) -> Generator[_Running]:
    with deployed(sqlite_in(folder), APP) as running:
        session = running.servers[0]
        yield _Running(running.url, (running.worker.pid, session.process.pid), session.address)


@contextmanager
def _with_valkey(folder: Path) -> Generator[_Running]:
    with valkey(folder, fsync="everysec") as server, deployed(server.url, APP) as running:
        session = running.servers[0]
        pids = (running.worker.pid, session.process.pid, server.pid)
        yield _Running(running.url, pids, session.address)


@contextmanager
def _alone(answers: str, _folder: Path) -> Generator[_Running]:
    with script(_PEER, answers, ready="mcp") as (url, pid):
        yield _Running(url, (pid,))


async def _make(running: _Running, kind: str, times: int) -> _Round:
    async with AsyncExitStack() as stack:
        calls: list[Callable[[], Awaitable[object]]]
        if kind == "Init":
            service = await stack.enter_async_context(service_at(running.address))
            calls = [partial(init_new, service)] * CALLERS
        else:
            connections = await stack.enter_async_context(connected(running.url, CALLERS))
            clients = [Client(connection) for connection in connections]
            calls = [each.open if kind == "handshake" else each.initialize for each in clients]
        meter = CpuMeter(all=running.pids)
        driven = await drive(calls, times=times)
        cpu = meter.spent()["all"]
    return _Round(driven.per_second, cpu / times, driven.client_cpu_seconds / times)
