"""One load after the other on all arms, which take turns: what all benches have in common.

Above lies `benches`; below lie `arms`, `driving` and `asking`. Invariants: within a round all arms
are measured at one load before the next one begins; before each figure the same is done for a
moment uncounted; sessions that were opened for a figure are ended after it.
"""

import itertools
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Final

from bench.compare.arms import Arm, Running
from bench.compare.asking import Opening, Post, Repeated, Wording, bodiless, new_ids, opening
from bench.compare.driving import Client, drive, end_sessions, open_sessions
from bench.compare.lines import connected
from bench.compare.plan import Plan, interleaved
from bench.compare.samples import Loads, Sample, sample_of

_REQUESTS_A_SESSION: Final = 3
"""Beside what is measured: one opens it, one says that it is open, one ends it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What clients do.

    Attributes:
        name: What it is called.
        clients: How many clients there are, each with a connection and a session of its own.
        wording: Makes what they ask, for one kind of answer; None if they open sessions.
        whole: Of clients that open sessions, whether they do the whole handshake.
    """

    name: str
    clients: int
    wording: Callable[[str], Wording] | None = None
    whole: bool = True


async def measured(
    running: Running, kind: str, load: Load, *, seconds: float, warm_seconds: float
) -> Sample:
    """Put a server under load for a while.

    Raises:
        WrongAnswerError: It answered wrongly.
        ConnectionError: It closed a connection.
    """
    async with AsyncExitStack() as stack:
        lines = await stack.enter_async_context(connected(running.urls, load.clients))
        urls = list(itertools.islice(itertools.cycle(running.urls), load.clients))
        ids = new_ids()
        clients: list[Client]
        ends: list[bytes] = []
        if load.wording is None:
            first = opening(kind)
            openings = [Opening(url, first, ids, whole=load.whole) for url in urls]
            clients = list(zip(lines, openings, strict=True))
        else:
            sessions = await open_sessions(lines, urls, kind)
            ends = [bodiless("DELETE", *each) for each in zip(urls, sessions, strict=True)]
            wording = load.wording(kind)
            clients = [
                (line, Repeated(Post(url, kind, session), wording, ids))
                for line, url, session in zip(lines, urls, sessions, strict=True)
            ]
        warm = await drive(clients, seconds=warm_seconds)
        before = running.cpu()
        driven = await drive(clients, seconds=seconds)
        after = running.cpu()
        running.requests += warm.done + driven.done + _REQUESTS_A_SESSION * len(ends)
        sample = sample_of(
            driven.latencies,
            driven.seconds,
            spent={role: after[role] - before[role] for role in after},
            client_cpu=driven.client_cpu_seconds,
            resident=running.resident(),
        )
        if ends:
            await end_sessions(lines, ends)
        return sample


@dataclass(frozen=True, slots=True)
class Arrived:
    """How many spans came of how many requests.

    Attributes:
        requests: Requests.
        spans: Spans.
    """

    requests: int
    spans: int


async def steady(
    plan: Plan, arms: Sequence[Arm], loads: Sequence[Load], *, tools: int, rounds: int
) -> tuple[Loads, dict[str, Arrived]]:
    """Measure arms whose servers run all the time, one load after the other.

    Returns:
        The samples; and, of servers that send spans, how many of them came.
    """
    found: Loads = {load.name: {arm.label: [] for arm in arms} for load in loads}
    servers: dict[str, Running] = {}
    with ExitStack() as stack:
        for arm in arms:
            if arm.server not in servers:
                start = arm.start(plan.folder("data"), tools)
                servers[arm.server] = stack.enter_context(start)
        for load in loads:
            for turn in interleaved(arms, rounds):
                for arm in turn:
                    sample = await measured(
                        servers[arm.server],
                        arm.kind,
                        load,
                        seconds=plan.seconds,
                        warm_seconds=plan.warm_seconds,
                    )
                    found[load.name][arm.label].append(sample)
    arrived = {
        name: Arrived(running.requests, running.spans)
        for name, running in servers.items()
        if running.spans is not None
    }
    return found, arrived


async def anew(
    plan: Plan, arms: Sequence[Arm], loads: Sequence[Load], *, tools: int, rounds: int
) -> Loads:
    """Measure arms whose servers are started anew in each round, so that no load builds up."""
    found: Loads = {load.name: {arm.label: [] for arm in arms} for load in loads}
    for turn in interleaved(arms, rounds):
        for arm in turn:
            with arm.start(plan.folder("data"), tools) as running:
                for load in loads:
                    sample = await measured(
                        running,
                        arm.kind,
                        load,
                        seconds=plan.seconds,
                        warm_seconds=plan.warm_seconds,
                    )
                    found[load.name][arm.label].append(sample)
    return found
