"""How long a client waits for its answer if the session server of its session is killed."""

import asyncio
import os
import signal
import statistics
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.support.waiting import wait_until

from bench.figures import Section, millis
from bench.http_load import connected
from bench.processes import Deployment, SessionServer, deployed, valkey, wait_gone
from bench.sessions.client import Client, WrongAnswerError
from bench.sessions.plan import APP, Plan, sqlite_in
from bench.sessions.population import owner_of

_SERVERS: Final = 3
_KINDS: Final = (
    "next",
    "under way",
    "alone: all",
    "alone: process start",
    "alone: the rest",
)
_UNAVAILABLE: Final = 503
_ASK_AGAIN_SECONDS: Final = 0.05

_TEXT: Final = f"""\
Milliseconds from `kill -9` to the answer, {{kills}} kills each. *Next*: {_SERVERS} session
servers, the owner of a session is killed and its client at once asks for something. *Under way*:
the owner is killed while it runs a call of a tool that may run twice. In both the client sends
one request and gets one answer, from another session server. *Alone*: one session server that is
started again at once, on the same port; the client asks at once, too, and again if it is told to
(503). It is split into what passes until the new process says that it serves, and the rest. A
start is that of a Python process that imports gRPC and the MCP SDK."""


async def measure(plan: Plan) -> Section:
    """Measure it, by store."""
    folder = plan.folder("takeover")
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    told_to_come_back = 0
    with ExitStack() as stack:
        server = stack.enter_context(valkey(folder / "valkey", fsync="everysec"))
        for name, store in (("SQLite", sqlite_in(folder)), ("Valkey", server.url)):
            marks = folder / f"marks-{name}"
            marks.mkdir()
            variables = {"BENCH_MARKS": str(marks)}
            with deployed(store, APP, servers=_SERVERS, env=variables) as fleet:
                for number in range(plan.kills):
                    found[name, "next"].append(await _next(plan, fleet))
                    found[name, "under way"].append(
                        await _under_way(plan, fleet, marks / str(number))
                    )
            with deployed(store, APP, env=variables) as alone:
                for _ in range(plan.kills):
                    start, rest, refused = await _alone(plan, alone)
                    told_to_come_back += refused
                    found[name, "alone: all"].append(start + rest)
                    found[name, "alone: process start"].append(start)
                    found[name, "alone: the rest"].append(rest)
    section = Section(
        "From kill -9 to the answer",
        _TEXT.format(kills=plan.kills),
        ("", "store", "median", "least", "greatest"),
    )
    for what in _KINDS:
        for name in ("SQLite", "Valkey"):
            seconds = found[name, what]
            cells = (statistics.median(seconds), min(seconds), max(seconds))
            section.rows.append((what, name, *map(millis, cells)))
    section.notes.append(
        f"Told to come back while the session server was away: {told_to_come_back}."
    )
    return section


async def _next(plan: Plan, fleet: Deployment) -> float:
    async with connected(fleet.url, 1) as (connection,):
        client = Client(connection)
        session_id, owner = await _new_session(client, fleet)
        os.kill(owner.process.pid, signal.SIGKILL)
        killed = time.perf_counter()
        answerer = await client.call(session_id, "where")
        seconds = time.perf_counter() - killed
    return await _recover(plan, fleet, owner, answerer, seconds)


async def _under_way(plan: Plan, fleet: Deployment, mark: Path) -> float:
    async with connected(fleet.url, 1) as (connection,):
        client = Client(connection)
        session_id, owner = await _new_session(client, fleet)
        answer = asyncio.create_task(client.call(session_id, "stay", name=mark.name))
        await asyncio.to_thread(wait_until, mark.exists, "the handler to begin")
        os.kill(owner.process.pid, signal.SIGKILL)
        killed = time.perf_counter()
        answerer = await answer
        seconds = time.perf_counter() - killed
    return await _recover(plan, fleet, owner, answerer, seconds)


async def _alone(plan: Plan, alone: Deployment) -> tuple[float, float, int]:
    """Return what the start took, what the rest took, and how often the client had to come back."""
    async with connected(alone.url, 1) as (connection,):
        client = Client(connection)
        session_id, owner = await _new_session(client, alone)
        old = owner.process.pid
        os.kill(old, signal.SIGKILL)
        killed = time.perf_counter()
        answer = asyncio.create_task(_ask_until_answered(client, session_id))
        await wait_gone(owner.process)
        await asyncio.to_thread(alone.restart, owner)
        started = time.perf_counter()
        answerer, answered, refused = await answer
    if answerer != owner.process.pid:
        raise AssertionError(f"{answerer} answered, not {owner.process.pid}")
    await asyncio.sleep(plan.settle_seconds)
    return started - killed, answered - started, refused


async def _ask_until_answered(client: Client, session_id: str) -> tuple[int, float, int]:
    refused = 0
    while True:
        try:
            answerer = await client.call(session_id, "where")
        except WrongAnswerError as error:
            if error.status != _UNAVAILABLE:
                raise
            refused += 1
            await asyncio.sleep(_ASK_AGAIN_SECONDS)
        else:
            return answerer, time.perf_counter(), refused


async def _new_session(client: Client, deployment: Deployment) -> tuple[str, SessionServer]:
    """Open a session and see who owns it; what it stores is to be there after the kill."""
    session_id = await client.open()
    await client.keep(session_id)
    address = await owner_of(deployment.servers[0].address, session_id)
    owner = deployment.server_at(address)
    if await client.call(session_id, "where") != owner.process.pid:
        raise AssertionError(f"{address} is on record as owner, and another one answers")
    return session_id, owner


async def _recover(
    plan: Plan, fleet: Deployment, owner: SessionServer, answerer: int, seconds: float
) -> float:
    """Check who answered, and start the server again that was killed."""
    others = [each.process.pid for each in fleet.servers if each is not owner]
    if answerer not in others:
        raise AssertionError(f"{answerer} answered, which is not one of {others}")
    await wait_gone(owner.process)
    await asyncio.to_thread(fleet.restart, owner)
    await asyncio.sleep(plan.settle_seconds)
    return seconds
