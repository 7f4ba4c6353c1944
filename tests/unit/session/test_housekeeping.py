"""The rounds of a session server: they end nothing but what is due, and never the server."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.session.session_servers import (
    ADA,
    LEASE_SECONDS,
    Fleet,
    SessionServer,
    renew,
    run,
    until,
)

from linkspan_session import housekeeping
from linkspan_session.errors import SessionElsewhereError, SessionExpiredError, SessionMovedError
from linkspan_session.housekeeping import Housekeeping
from linkspan_session.life import KEEP_CLOSED_MILLIS
from linkspan_session.live import LiveSession
from linkspan_session.session_limits import SessionLimits
from linkspan_session.store import NOBODY, Closed, NodeLoad, SessionId

SLEEP_AFTER = 300.0
TTL = 3600.0
LIMITS = SessionLimits(ttl_millis=round(TTL * 1000))


def rounds_of(server: SessionServer, *, sleep_after_seconds: float = SLEEP_AFTER) -> Housekeeping:
    return Housekeeping(
        server.sessions,
        server.store,
        server.lease,
        sleep_after_seconds=sleep_after_seconds,
        ttl_seconds=TTL,
        now_millis=server.clock.now_millis,
    )


def idle_for(live: LiveSession, seconds: float) -> None:
    live.used_at = asyncio.get_running_loop().time() - seconds


# --- sleep ---------------------------------------------------------------------------------------


def test_what_was_idle_for_long_enough_sleeps_and_nothing_else(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        old, young, busy = [await here.create(name) for name in ("old", "young", "busy")]
        idle_for(old, SLEEP_AFTER + 1)
        idle_for(young, SLEEP_AFTER - 10)
        async with here.sessions.using(SessionId("busy"), ADA):
            idle_for(busy, SLEEP_AFTER + 1)
            await rounds_of(here).tend()
        assert here.sessions.live() == [young, busy]
        assert (await here.seen("old")).record.owner == NOBODY

    run(tmp_path, scenario)


def test_a_session_sleeps_no_later_than_it_expires(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        live = await here.create("s")
        idle_for(live, TTL + 1)
        await rounds_of(here, sleep_after_seconds=10 * TTL).tend()
        assert not here.has("s")

    run(tmp_path, scenario)


def test_a_session_that_is_busy_for_long_does_not_expire_meanwhile(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        await here.create("s")
        rounds = rounds_of(here)
        async with here.sessions.using(SessionId("s"), ADA):
            for _ in range(4):
                fleet.clock.seconds += TTL / 2
                await rounds.tend()
                await rounds.sweep()
        await here.use("s")
        assert (await here.seen("s")).record.closed is None

    run(tmp_path, scenario)


def test_rounds_go_on_after_a_busy_session_turns_out_to_be_lost(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here", LIMITS), await fleet.start("there", port=2)
        await here.create("s")
        async with here.sessions.using(SessionId("s"), ADA):
            fleet.clock.seconds += LEASE_SECONDS + 120
            await there.use("s")
            async with asyncio.TaskGroup() as chores:
                rounds = chores.create_task(rounds_of(here, sleep_after_seconds=0.02).run())
                await until(lambda: not here.has("s"), "the loss to be noticed")
                idle_for(await here.create("t"), 1)
                await until(lambda: not here.has("t"), "the rounds to go on")
                rounds.cancel()
        assert there.has("s")

    run(tmp_path, scenario)


def test_rounds_go_on_while_the_store_is_away(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        live, busy = await here.create("s"), await here.create("t")
        idle_for(live, SLEEP_AFTER + 1)
        fleet.clock.seconds += 120
        await here.lease.ensure()
        rounds = rounds_of(here)
        async with here.sessions.using(SessionId("t"), ADA):
            fleet.backend.take_away()
            await rounds.tend()
            await rounds.sweep()
            assert here.sessions.live() == [live, busy]
            fleet.backend.bring_back()
            await rounds.tend()
        assert here.sessions.live() == [busy]

    run(tmp_path, scenario)


# --- expiry --------------------------------------------------------------------------------------


def test_what_is_due_expires_whoever_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_SWEEP_LIMIT", 2)

    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here", LIMITS), await fleet.start("there", LIMITS, port=2)
        names = [f"s{number}" for number in range(5)]
        for name in names:
            assert await here.sessions.sleep(await here.create(name))
        in_memory = await there.create("there")
        fleet.clock.seconds += TTL
        await here.create("young")
        await rounds_of(here).sweep()
        for name in (*names, "there"):
            record = (await here.seen(name)).record
            assert (record.closed, record.owner) == (Closed.EXPIRED, NOBODY)
            with pytest.raises(SessionExpiredError):
                await here.use(name)
        assert (await here.seen("young")).record.closed is None
        with pytest.raises((SessionExpiredError, SessionMovedError)):
            await there.use("there")
        with pytest.raises(SessionExpiredError):
            await there.use("there")
        assert in_memory.ended

    run(tmp_path, scenario)


def test_what_expired_is_remembered_for_a_while_and_then_gone(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        assert await here.sessions.sleep(await here.create("s"))
        rounds = rounds_of(here)
        fleet.clock.seconds += TTL
        await rounds.sweep()
        fleet.clock.seconds += KEEP_CLOSED_MILLIS / 1000 - 1
        await rounds.sweep()
        assert (await here.seen("s")).record.closed is Closed.EXPIRED
        fleet.clock.seconds += 1
        await rounds.sweep()
        assert await here.store.get(SessionId("s")) is None

    run(tmp_path, scenario)


# --- balance -------------------------------------------------------------------------------------


async def crowded(fleet: Fleet, sessions: int) -> tuple[SessionServer, list[LiveSession]]:
    """Start a server that has sessions while another has none."""
    here, there = await fleet.start("here", LIMITS), await fleet.start("there", port=2)
    await there.lease.ensure()
    lives = [await here.create(f"s{number}") for number in range(sessions)]
    for live in lives:
        idle_for(live, 2)
    await renew(here.lease)
    return here, lives


async def was_shed(server: SessionServer, live: LiveSession) -> bool:
    """Tell whether a session was let go of so that another server gets it."""
    try:
        await server.use(live.record.session_id)
    except SessionElsewhereError:
        return True
    return False


def test_a_server_with_far_too_many_sheds_down_to_its_share(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, lives = await crowded(fleet, 60)
        rounds = rounds_of(here)
        await rounds.tend()
        assert here.sessions.live() == lives[30:]  # the least recently used have gone
        assert all([await was_shed(here, live) for live in lives[:30]])

    run(tmp_path, scenario)


def test_what_was_shed_is_not_shed_again_before_more_is_known(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, _ = await crowded(fleet, 60)
        rounds = rounds_of(here)
        for _ in range(3):  # several rounds between two renewals
            await rounds.tend()
        assert len(here.sessions) == 30
        here.lease.peers = (NodeLoad(here.node, 30), NodeLoad(here.node, 30))
        await rounds.tend()
        assert len(here.sessions) == 30

    run(tmp_path, scenario)


def test_what_goes_to_sleep_anyway_counts_as_let_go_of(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, lives = await crowded(fleet, 60)
        for live in lives[:20]:
            idle_for(live, SLEEP_AFTER + 1)
        await rounds_of(here).tend()
        assert len(here.sessions) == 30
        assert [await was_shed(here, live) for live in lives[:30]] == [False] * 20 + [True] * 10

    run(tmp_path, scenario)


def test_a_round_moves_so_many_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "_MOVED_A_ROUND", 20)

    async def scenario(fleet: Fleet) -> None:
        here, _ = await crowded(fleet, 60)
        rounds = rounds_of(here)
        left: list[int] = []
        for _ in range(3):
            await rounds.tend()
            left.append(len(here.sessions))
        assert left == [40, 30, 30]

    run(tmp_path, scenario)


def test_what_was_just_used_is_not_shed(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, lives = await crowded(fleet, 60)
        for live in lives[:50]:
            idle_for(live, 0)
        await rounds_of(here).tend()
        assert here.sessions.live() == lives[:50]

    run(tmp_path, scenario)


def test_what_cannot_be_given_back_is_not_counted_as_shed(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, _ = await crowded(fleet, 60)
        rounds = rounds_of(here)
        fleet.backend.take_away()
        await rounds.tend()
        assert len(here.sessions) == 60
        fleet.backend.bring_back()
        await rounds.tend()
        assert len(here.sessions) == 30

    run(tmp_path, scenario)
