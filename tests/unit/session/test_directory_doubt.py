"""Whose a session is when a lease ran out or the store is away: in doubt, the record is asked."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.session.session_servers import ADA, LEASE_SECONDS, Fleet, asleep, run

from linkspan_session.errors import (
    SessionElsewhereError,
    SessionEndedError,
    SessionMovedError,
    StoreUnavailableError,
)
from linkspan_session.store import Changes, SessionId

S = SessionId("s")


# --- leases that ran out -------------------------------------------------------------------------


def test_a_server_whose_lease_ran_out_keeps_what_nobody_took(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        fleet.clock.seconds += LEASE_SECONDS + 1
        assert not here.lease.fresh
        assert await here.use("s") is live
        assert here.lease.fresh
        assert not live.doubtful
        assert live.record.epoch == 1

    run(tmp_path, scenario)


def test_a_server_that_was_stopped_lets_go_of_what_was_taken_over(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        lost, kept = await here.create("s"), await here.create("t")
        fleet.clock.seconds += LEASE_SECONDS + 1
        taken = await there.use("s")
        assert (taken.record.owner, taken.record.epoch) == (there.node, 2)

        with pytest.raises(SessionMovedError):
            await lost.journal.commit(Changes(storage={"k": b"late"}))
        assert await there.store.read_storage(S) == {}
        assert lost.ended
        assert not here.has("s")
        with pytest.raises(SessionElsewhereError) as refused:
            await here.use("s")
        assert refused.value.owner == there.node
        assert await here.use("t") is kept
        assert there.has("s")

    run(tmp_path, scenario)


def test_a_session_that_was_taken_over_is_not_served_from_memory(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        live = await here.create("s")
        fleet.clock.seconds += LEASE_SECONDS + 1
        await there.use("s")
        with pytest.raises(SessionElsewhereError):  # nothing was written in between
            await here.use("s")
        assert live.ended
        assert not here.has("s")

    run(tmp_path, scenario)


def test_a_session_that_was_taken_over_and_given_back_is_built_anew(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        stale = await here.create("s")
        fleet.clock.seconds += LEASE_SECONDS + 1
        async with there.sessions.using(S, ADA) as live:
            await there.settle(live, "logging/setLevel", {"level": "error"})
        assert await there.sessions.sleep(live)
        fresh = await here.use("s")
        assert fresh is not stale
        assert (fresh.record.epoch, fresh.record.preferences.log_level) == (3, "error")

    run(tmp_path, scenario)


def test_a_session_that_this_server_claimed_anew_is_built_anew(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        stale = await here.create("s")
        stale.doubtful = True
        assert await here.store.claim(S, here.node, seen_epoch=1)
        fresh = await here.use("s")
        assert fresh is not stale
        await fresh.journal.commit(Changes())

    run(tmp_path, scenario)


def test_doubt_that_comes_while_a_session_is_looked_up_stays(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        live = await here.create("s")
        live.doubtful = True
        gate = here.store.hold_after("get")
        using = asyncio.create_task(here.use("s"))
        await gate.arrived.wait()
        fleet.clock.seconds += LEASE_SECONDS + 1
        await there.use("s")
        await here.lease.ensure()
        gate.opened.set()
        await using
        assert live.doubtful
        with pytest.raises(SessionElsewhereError):
            await here.use("s")

    run(tmp_path, scenario)


@pytest.mark.parametrize("step", ["create", "claim"])
def test_doubt_that_comes_while_a_session_comes_into_memory_stays(
    tmp_path: Path, step: str
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        coming: asyncio.Task[object]
        if step == "claim":
            await asleep(there)
            gate = here.store.hold_after("claim")
            coming = asyncio.create_task(here.use("s"))
        else:
            gate = here.store.hold_after("create")
            coming = asyncio.create_task(here.sessions.create(S, ADA, ""))
        await gate.arrived.wait()
        fleet.clock.seconds += LEASE_SECONDS + 1
        await there.use("s")
        await here.lease.ensure()
        gate.opened.set()
        await coming
        with pytest.raises(SessionElsewhereError):
            await here.use("s")

    run(tmp_path, scenario)


def test_a_lookup_that_comes_back_after_the_end_finds_it_ended(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        async with here.sessions.using(S, ADA):
            live.doubtful = True
            gate = here.store.hold_after("get")
            using = asyncio.create_task(here.use("s"))
            await gate.arrived.wait()
            await here.sessions.end(live)
        gate.opened.set()
        with pytest.raises(SessionEndedError):
            await using
        assert not here.has("s")

    run(tmp_path, scenario)


# --- the store is away ---------------------------------------------------------------------------


def test_a_session_that_cannot_be_given_back_stays_in_memory(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        fleet.backend.take_away()
        assert not await here.sessions.sleep(live)
        fleet.backend.bring_back()
        assert await here.use("s") is live
        assert not live.doubtful

    run(tmp_path, scenario)


def test_a_lease_that_runs_out_while_a_session_cannot_be_given_back_leaves_it_in_doubt(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        live = await here.create("s")
        gate = here.store.hold_before("commit")
        sleeping = asyncio.create_task(here.sessions.sleep(live))
        await gate.arrived.wait()
        fleet.clock.seconds += LEASE_SECONDS + 1
        await there.use("s")
        await here.lease.ensure()
        fleet.backend.take_away()
        gate.opened.set()
        assert not await sleeping
        fleet.backend.bring_back()
        with pytest.raises(SessionElsewhereError):
            await here.use("s")

    run(tmp_path, scenario)


def test_a_session_that_was_given_back_without_a_word_is_claimed_anew(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        gate = here.store.hold_after("commit")
        sleeping = asyncio.create_task(here.sessions.sleep(live))
        await gate.arrived.wait()
        sleeping.cancel()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        woken = await here.use("s")
        assert woken is not live
        assert woken.record.epoch == 2
        await woken.journal.commit(Changes())

    run(tmp_path, scenario)


def test_without_a_lease_and_a_store_nothing_is_served(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        await here.create("s")
        fleet.backend.take_away()
        assert (await here.use("s")).users == 0  # nobody can have taken it over
        fleet.clock.seconds += LEASE_SECONDS + 1
        with pytest.raises(StoreUnavailableError):
            await here.use("s")
        fleet.backend.bring_back()
        await here.use("s")

    run(tmp_path, scenario)
