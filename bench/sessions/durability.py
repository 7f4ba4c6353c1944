"""What it costs a request to write something that is on record before it is answered."""

import statistics
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.figures import Section, number, spread
from bench.http_load import connected, drive
from bench.processes import CpuMeter, deployed, script, valkey
from bench.sessions.client import Client
from bench.sessions.plan import APP, CALLERS, Plan, interleaved, sqlite_in

_TEXT: Final = """\
The same tool, with and without one line: `await session_storage().put("value", value)`. One
session for each client. What was written last was read again at the end of each round. The ratio
is to the row that writes nothing, round by round. Valkey with `appendfsync everysec` keeps what
SQLite keeps, all of it unless the machine dies; with `always` it keeps it then, too. CPU
milliseconds a request, by process."""

_PEER: Final = str(Path(__file__).parent / "sdk_peer.py")
_CONCURRENCIES: Final = (1, CALLERS)
_BASE: Final = "nothing written"


@dataclass(frozen=True, slots=True)
class _Arm:
    """One way to serve the tool.

    Attributes:
        name: What it is called.
        url: Where clients post to.
        tool: Which tool is called.
        pids: The processes, by what they are.
    """

    name: str
    url: str
    tool: str
    pids: dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Round:
    """What one round found: CPU in seconds a request."""

    per_second: float
    cpu: dict[str, float]
    client_cpu: float


async def measure(plan: Plan) -> Section:
    """Measure it, by store."""
    folder = plan.folder("durability")
    with ExitStack() as stack:
        everysec = stack.enter_context(valkey(folder / "everysec", fsync="everysec"))
        always = stack.enter_context(valkey(folder / "always", fsync="always"))
        stores = (
            ("written to SQLite", sqlite_in(folder), ()),
            ("written to Valkey, `everysec`", everysec.url, (everysec.pid,)),
            ("written to Valkey, `always`", always.url, (always.pid,)),
        )
        arms: list[_Arm] = []
        for name, store, store_pids in stores:
            running = stack.enter_context(deployed(store, APP))
            pids: dict[str, tuple[int, ...]] = {
                "worker": (running.worker.pid,),
                "session": (running.servers[0].process.pid,),
                "store": store_pids,
            }
            if not arms:
                arms.append(_Arm(_BASE, running.url, "echo", pids))
            arms.append(_Arm(name, running.url, "keep", pids))
        url, pid = stack.enter_context(script(_PEER, "json", ready="mcp"))
        arms.append(_Arm("SDK alone, JSON, nothing written", url, "echo", {"session": (pid,)}))
        return await _compare(plan, arms)


async def _compare(plan: Plan, arms: list[_Arm]) -> Section:
    found: defaultdict[tuple[int, str], list[_Round]] = defaultdict(list)
    for arm in arms:
        await _call(arm, CALLERS, plan.seconds / 4)
    for concurrency in _CONCURRENCIES:
        for arm in interleaved(arms, plan.rounds):
            found[concurrency, arm.name].append(await _call(arm, concurrency, plan.seconds))
    section = Section(
        "What writing costs a request",
        _TEXT,
        ("at once", "", "requests a second", "ratio", "CPU ms", "worker", "session", "store"),
    )
    for (concurrency, name), rounds in found.items():
        base = found[concurrency, _BASE]
        ratios = [
            one.per_second / other.per_second for one, other in zip(rounds, base, strict=True)
        ]
        section.rows.append(
            (
                str(concurrency),
                name,
                spread([each.per_second for each in rounds], number),
                spread(ratios, number),
                spread([sum(each.cpu.values()) * 1000 for each in rounds], number),
                *(_part(rounds, part) for part in ("worker", "session", "store")),
            )
        )
    own = [each.client_cpu * 1000 for rounds in found.values() for each in rounds]
    section.notes.append(
        f"The load generator took {spread(own, number)} ms of CPU a request itself."
    )
    return section


def _part(rounds: list[_Round], name: str) -> str:
    return number(statistics.median(each.cpu.get(name, 0.0) * 1000 for each in rounds))


async def _call(arm: _Arm, concurrency: int, seconds: float) -> _Round:
    async with connected(arm.url, concurrency) as connections:
        callers = [_Caller(Client(connection), arm.tool) for connection in connections]
        for caller in callers:
            await caller.open()
        meter = CpuMeter(**arm.pids)
        driven = await drive([caller.call for caller in callers], seconds=seconds)
        cpu = meter.spent()
        for caller in callers:
            await caller.check()
    return _Round(
        driven.per_second,
        {name: spent / driven.done for name, spent in cpu.items()},
        driven.client_cpu_seconds / driven.done,
    )


class _Caller:
    """A client that calls the tool with a number that grows."""

    def __init__(self, client: Client, tool: str) -> None:
        self._client = client
        self._tool = tool
        self._session_id = ""
        self._value = 0

    async def open(self) -> None:
        """Open the session."""
        self._session_id = await self._client.open()

    async def call(self) -> None:
        """Call the tool, and check its answer."""
        self._value += 1
        said = await self._client.call(self._session_id, self._tool, value=self._value)
        if said != self._value:
            raise AssertionError(f"{self._tool}({self._value}) said {said}")

    async def check(self) -> None:
        """Check that what was written last is stored."""
        if self._tool == "keep":
            stored = await self._client.call(self._session_id, "kept")
            if stored != self._value:
                raise AssertionError(f"{stored} is stored, not {self._value}")
