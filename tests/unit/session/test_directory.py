"""Sessions of one session server: one owner, one in memory, and nothing half."""

import asyncio
import dataclasses
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.unit.session.session_servers import (
    ADA,
    BOB,
    LEASE_SECONDS,
    Fleet,
    Gate,
    SessionServer,
    run,
    until,
)

from linkspan_session.directory import SessionLimits
from linkspan_session.errors import (
    DrainingError,
    OverloadedError,
    SessionElsewhereError,
    SessionEndedError,
    SessionError,
    SessionExpiredError,
    SessionIdTakenError,
    SessionMovedError,
    SessionNotFoundError,
    StoreUnavailableError,
    TooManySessionsError,
)
from linkspan_session.exchange import Exchange
from linkspan_session.life import KEEP_CLOSED_MILLIS
from linkspan_session.live import LiveSession
from linkspan_session.store import NOBODY, Changes, Closed, SessionId

S = SessionId("s")


async def asleep(server: SessionServer, name: str = "s") -> None:
    """Put a session on record that nobody has in memory."""
    assert await server.sessions.sleep(await server.create(name))


# --- made and found ------------------------------------------------------------------------------


def test_a_session_is_created_once_and_then_found(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        record, created = await here.sessions.create(S, ADA, "")
        assert (created, record.owner, record.epoch) == (True, here.node, 1)
        again, created = await here.sessions.create(S, ADA, "")
        assert (created, again) == (False, record)
        assert (await here.seen("s")).record == record
        assert len(here.sessions) == 1

    run(tmp_path, scenario)


def test_of_two_that_create_one_session_at_once_one_has(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        results = await asyncio.gather(*(here.sessions.create(S, ADA, "") for _ in range(5)))
        assert [created for _, created in results].count(True) == 1
        assert len({record for record, _ in results}) == 1
        assert len(here.sessions) == 1

    run(tmp_path, scenario)


def test_of_two_servers_that_create_one_session_at_once_one_does(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        servers = [await fleet.start("here"), await fleet.start("there", port=2)]
        results = await asyncio.gather(
            *(each.sessions.create(S, ADA, "") for each in servers), return_exceptions=True
        )
        (elsewhere,) = [each for each in results if isinstance(each, SessionElsewhereError)]
        (owner,) = [each for each in servers if each.has("s")]
        assert elsewhere.owner == owner.node

    run(tmp_path, scenario)


def test_the_id_of_anothers_session_is_taken_and_nothing_more_is_told(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        await here.create("s")
        with pytest.raises(SessionIdTakenError):
            await here.sessions.create(S, BOB, "")
        for _ in ("in memory", "asleep"):
            with pytest.raises(SessionNotFoundError):
                async with here.sessions.using(S, BOB):
                    pass
            assert (await here.seen("s")).record.epoch == 1
            if here.has("s"):
                assert await here.sessions.sleep(here.live("s"))
        assert not here.has("s")

    run(tmp_path, scenario)


def test_a_principal_may_have_so_many_and_no_more(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", SessionLimits(max_of_principal=1))
        await here.create("s")
        with pytest.raises(TooManySessionsError):
            await here.create("t")
        await here.create("u", BOB)
        assert sorted(here.names()) == ["s", "u"]

    run(tmp_path, scenario)


def test_a_session_that_was_never_there_is_not_found(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        with pytest.raises(SessionNotFoundError):
            await here.use("s")
        assert here.quiet

    run(tmp_path, scenario)


# --- asleep and woken ----------------------------------------------------------------------------


def test_a_session_wakes_with_all_that_its_client_has_asked(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        live = await here.create("s")
        live.connection.state["seen"] = [1]
        await here.settle(live, "logging/setLevel", {"level": "warning"})
        await here.settle(live, "resources/subscribe", {"uri": "file:///a"})
        await here.settle(live, "resources/subscribe", {"uri": "file:///b"})
        assert await here.sessions.sleep(live)
        assert not here.has("s")
        found = await here.seen("s")
        assert (found.record.owner, found.owner_alive) == (NOBODY, False)
        fleet.app.levels.clear()
        fleet.app.subscribed.clear()

        woken = await there.use("s")
        assert woken is not live
        assert (woken.record.owner, woken.record.epoch) == (there.node, 2)
        assert woken.record.handshake == live.record.handshake
        assert woken.connection.protocol_version == "2025-06-18"
        assert woken.connection.state == {"seen": [1]}
        assert json.loads(woken.record.preferences.scratch_json) == {"seen": [1]}
        assert fleet.app.levels == ["warning"]
        assert fleet.app.subscribed == ["file:///a", "file:///b"]
        with pytest.raises(SessionElsewhereError) as refused:
            await here.use("s")
        assert refused.value.owner == there.node

    run(tmp_path, scenario)


def test_a_session_that_sleeps_runs_what_its_handlers_left_for_the_end(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        await here.settle(live, "resources/subscribe", {"uri": "file:///a"})
        assert await here.sessions.sleep(live)
        await until(lambda: fleet.app.cleaned == ["file:///a"], "its end")
        assert not await here.sessions.sleep(live)

    run(tmp_path, scenario)


def test_a_session_that_is_used_does_not_sleep(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        await here.create("s")
        async with here.sessions.using(S, ADA) as live:
            assert not await here.sessions.sleep(live)
            assert not live.doubtful
        assert await here.sessions.sleep(live)

    run(tmp_path, scenario)


def test_whoever_comes_while_a_session_falls_asleep_wakes_it(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        gate = here.store.hold_before("commit")
        sleeping = asyncio.create_task(here.sessions.sleep(live))
        await gate.arrived.wait()
        using = asyncio.create_task(here.use("s"))
        await asyncio.sleep(0)
        gate.opened.set()
        assert await sleeping
        woken = await using
        assert woken is not live
        assert woken.record.epoch == 2
        assert here.live("s") is woken

    run(tmp_path, scenario)


def test_of_many_that_wake_a_session_at_once_all_get_the_same(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        await asleep(here)
        used = await asyncio.gather(*(here.use("s") for _ in range(10)))
        assert len({id(each) for each in used}) == 1
        assert (await here.seen("s")).record.epoch == 2
        assert here.quiet

    run(tmp_path, scenario)


def test_of_servers_that_claim_a_session_at_once_one_owns_it(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        servers = [await fleet.start(str(port), port=port) for port in (1, 2, 3)]
        for number in range(5):
            name = f"s{number}"
            await asleep(servers[0], name)
            results = await asyncio.gather(
                *(each.use(name) for each in servers), return_exceptions=True
            )
            (won,) = [each for each in results if isinstance(each, LiveSession)]
            owners = [each.owner for each in results if isinstance(each, SessionElsewhereError)]
            assert owners == [won.record.owner] * 2
            assert [each.node for each in servers if each.has(name)] == [won.record.owner]
            assert won.record.epoch == 2

    run(tmp_path, scenario)


def test_nobody_uses_a_session_before_it_is_whole(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        await here.settle(live, "resources/subscribe", {"uri": "file:///a"})
        assert await here.sessions.sleep(live)
        fleet.app.on_subscribe = gate = Gate()
        waking = asyncio.create_task(here.use("s"))
        await gate.arrived.wait()
        also = asyncio.create_task(here.use("s"))
        assert not (await asyncio.wait({also}, timeout=0.05))[0]
        gate.opened.set()
        assert await waking is await also
        assert fleet.app.subscribed == ["file:///a", "file:///a"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("step", ["get", "claim", "restore"])
def test_whoever_goes_away_while_a_session_wakes_leaves_nothing_half(
    tmp_path: Path, step: str
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        await here.settle(live, "resources/subscribe", {"uri": "file:///a"})
        assert await here.sessions.sleep(live)
        await until(lambda: fleet.app.cleaned == ["file:///a"], "the end of its sleepless life")
        fleet.app.cleaned.clear()
        gate = Gate()
        if step == "restore":
            fleet.app.on_subscribe = gate
        else:
            gate = here.store.hold_after(step)
        waking = asyncio.create_task(here.use("s"))
        await gate.arrived.wait()
        also = asyncio.create_task(here.use("s"))
        await asyncio.sleep(0)
        waking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waking
        woken = await also
        assert here.live("s") is woken
        assert woken.record == (await here.seen("s")).record
        assert woken.users == 0
        await woken.journal.commit(Changes())
        assert here.quiet
        if step == "restore":
            await until(lambda: fleet.app.cleaned == ["file:///a"], "what was half to be cleaned")

    run(tmp_path, scenario)


def test_a_session_that_is_lost_while_it_wakes_is_not_used(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        live = await here.create("s")
        await here.settle(live, "resources/subscribe", {"uri": "file:///a"})
        reader = Exchange()
        await live.listen(reader)
        reader.detach()
        assert await here.sessions.sleep(live)
        fleet.app.on_subscribe = gate = Gate()
        waking = asyncio.create_task(here.use("s"))
        await gate.arrived.wait()
        assert await there.store.claim(S, there.node, seen_epoch=2) is not None
        gate.opened.set()
        with pytest.raises(SessionElsewhereError):
            await waking
        assert not here.has("s")

    run(tmp_path, scenario)


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


# --- draining ------------------------------------------------------------------------------------


def test_a_server_that_drains_gives_idle_sessions_back_and_serves_busy_ones(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        await here.create("s")
        busy = await here.create("t")
        await asleep(here, "u")
        async with here.sessions.using(SessionId("t"), ADA):
            here.sessions.drain()
            assert await here.use("t") is busy
            for name in ("s", "u"):
                with pytest.raises(DrainingError):
                    await here.use(name)
                assert (await here.seen(name)).record.owner == NOBODY
            with pytest.raises(DrainingError):
                await here.sessions.create(SessionId("v"), ADA, "")
        assert (await there.use("s")).record.owner == there.node
        with pytest.raises(DrainingError):
            await here.use("t")
        assert (await there.use("t")).record.owner == there.node
        assert len(here.sessions) == 0

    run(tmp_path, scenario)


def test_a_session_that_is_somebodys_is_pointed_to_even_when_draining(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        await there.create("s")
        here.sessions.drain()
        with pytest.raises(SessionElsewhereError):
            await here.use("s")

    run(tmp_path, scenario)


def test_a_server_that_drains_takes_nothing_over(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there")  # nobody listens there
        await there.create("s")
        here.sessions.drain()
        with pytest.raises(DrainingError):
            await here.use("s", unreachable=there.node)
        assert (await here.seen("s")).record.owner == there.node

    run(tmp_path, scenario)


def test_a_server_that_drains_serves_what_nobody_else_would_take(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        await asleep(here)
        assert await here.store.claim(S, here.node, seen_epoch=1)  # whoever woke it went away
        here.sessions.drain()
        assert (await here.use("s")).record.epoch == 3
        with pytest.raises(DrainingError):
            await here.use("s")
        assert (await here.seen("s")).record.owner == NOBODY

    run(tmp_path, scenario)


def test_a_server_that_drains_serves_a_busy_session_on_after_its_lease_ran_out(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        await here.create("s")
        async with here.sessions.using(S, ADA) as live:
            here.sessions.drain()
            fleet.clock.seconds += LEASE_SECONDS + 1
            assert await here.use("s") is live
            await live.journal.commit(Changes())

    run(tmp_path, scenario)


def test_leaving_runs_what_handlers_left_for_the_end(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        await here.settle(live, "resources/subscribe", {"uri": "file:///a"})
        await here.sessions.leave()
        assert fleet.app.cleaned == ["file:///a"]

    run(tmp_path, scenario)


# --- room ----------------------------------------------------------------------------------------

TWO = SessionLimits(max_live=2)


def test_the_least_recently_used_session_makes_room(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", TWO)
        await here.create("a")
        await here.create("b")
        await here.use("a")
        await here.create("c")
        assert sorted(here.names()) == ["a", "c"]
        await here.use("b")
        assert sorted(here.names()) == ["b", "c"]

    run(tmp_path, scenario)


def test_no_session_makes_room_while_it_is_used(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", TWO)
        await asleep(here, "c")
        await here.create("a")
        await here.create("b")
        async with AsyncExitStack() as users:
            await users.enter_async_context(here.sessions.using(SessionId("a"), ADA))
            await here.use("c")
            assert sorted(here.names()) == ["a", "c"]
            await users.enter_async_context(here.sessions.using(SessionId("c"), ADA))
            with pytest.raises(OverloadedError):
                await here.use("b")
            with pytest.raises(OverloadedError):
                await here.sessions.create(SessionId("d"), ADA, "")
            assert sorted(here.names()) == ["a", "c"]
            assert (await here.seen("b")).record.owner == NOBODY
            assert await here.store.get(SessionId("d")) is None
        await here.use("b")

    run(tmp_path, scenario)


def test_sessions_that_come_at_once_do_not_take_more_room_than_there_is(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", TWO)
        names = [str(number) for number in range(8)]
        for name in names:
            await asleep(here, name)
        most = 0

        async def use(name: str) -> None:
            nonlocal most
            async with here.sessions.using(SessionId(name), ADA):
                most = max(most, len(here.sessions))
                await asyncio.sleep(0)

        results = await asyncio.gather(*(use(name) for name in names), return_exceptions=True)
        assert {type(each) for each in results} <= {type(None), OverloadedError}
        assert None in results
        assert most <= 2
        assert here.quiet

    run(tmp_path, scenario)


def test_those_that_make_room_for_each_other_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", TWO)
        names = [str(number) for number in range(4)]
        for name in names:
            await asleep(here, name)

        async def use(name: str) -> None:
            for _ in range(30):
                try:
                    await here.use(name)
                except OverloadedError:
                    await asyncio.sleep(0)

        async with asyncio.timeout(30):
            await asyncio.gather(*(use(name) for name in names * 2))
        assert len(here.sessions) <= 2
        assert here.quiet

    run(tmp_path, scenario)


def test_what_is_taken_over_from_a_dead_server_needs_room_too(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", SessionLimits(max_live=1))
        there = await fleet.start("there")  # at an address where nobody listens
        await there.create("s")
        await here.create("t")
        async with here.sessions.using(SessionId("t"), ADA):
            with pytest.raises(OverloadedError):
                await here.use("s", unreachable=there.node)
        assert (await here.use("s", unreachable=there.node)).record.owner == here.node
        assert here.names() == ["s"]

    run(tmp_path, scenario)


def test_room_that_was_not_needed_after_all_is_free_again(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here", TWO), await fleet.start("there", port=2)
        await there.create("s")
        for _ in range(3):
            with pytest.raises(SessionElsewhereError):
                await here.sessions.create(S, ADA, "")
        await here.create("a")
        await here.create("b")
        assert len(here.sessions) == 2

    run(tmp_path, scenario)


def test_a_session_that_is_in_memory_needs_no_more_room(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", SessionLimits(max_live=1))
        live = await here.create("s")
        async with here.sessions.using(S, ADA):
            assert await here.sessions.create(S, ADA, "") == (live.record, False)
        assert await here.sessions.create(S, ADA, "") == (live.record, False)

    run(tmp_path, scenario)


# --- shed ----------------------------------------------------------------------------------------


def test_a_session_that_was_shed_goes_elsewhere_once(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        await there.lease.ensure()
        live = await here.create("s")
        assert await here.sessions.sleep(live, shed=True)
        with pytest.raises(SessionElsewhereError) as refused:
            await here.use("s")
        assert refused.value.owner == ""
        assert (await here.use("s")).record.owner == here.node

    run(tmp_path, scenario)


def test_a_session_that_was_shed_wakes_here_if_there_is_nowhere_else(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        assert await here.sessions.sleep(live, shed=True)
        assert (await here.use("s")).record.owner == here.node

    run(tmp_path, scenario)


def test_what_was_shed_is_not_remembered_for_ever(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", TWO)
        there = await fleet.start("there", port=2)
        await there.lease.ensure()
        for number in range(5):
            assert await here.sessions.sleep(await here.create(str(number)), shed=True)
        for number in range(3):  # they come back here before they are to
            await here.use(str(number))
        for number in (3, 4):
            with pytest.raises(SessionElsewhereError):
                await here.use(str(number))

    run(tmp_path, scenario)


# --- used, ended, expired ------------------------------------------------------------------------


def test_using_a_session_puts_its_end_off_and_costs_a_commit_now_and_then(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", SessionLimits(ttl_millis=600_000))
        live = await here.create("s")
        before = (await here.seen("s")).record
        fleet.clock.seconds += 5
        await here.use("s")
        assert (await here.seen("s")).record == before
        fleet.clock.seconds += 60
        await here.use("s")
        now = fleet.clock.now_millis()
        after = (await here.seen("s")).record
        assert (after.last_active_millis, after.expires_millis) == (now, now + 600_000)
        assert after == dataclasses.replace(live.record, version=after.version)
        fleet.clock.seconds -= 3600  # somebody has set the clock back
        await here.lease.ensure()
        await here.use("s")
        assert (await here.seen("s")).record.last_active_millis == fleet.clock.now_millis()

    run(tmp_path, scenario)


def test_a_session_that_was_not_used_for_too_long_is_not_woken(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", SessionLimits(ttl_millis=60_000))
        await asleep(here)
        fleet.clock.seconds += 60
        with pytest.raises(SessionExpiredError):
            await here.use("s")
        with pytest.raises(SessionExpiredError):
            await here.sessions.create(S, ADA, "")
        with pytest.raises(SessionNotFoundError):
            async with here.sessions.using(S, BOB):
                pass

    run(tmp_path, scenario)


def test_a_session_whose_client_never_said_hello_expires_soon(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        record, _ = await here.sessions.create(S, ADA, "")
        assert record.expires_millis == fleet.clock.now_millis() + 300_000
        assert await here.sessions.sleep(here.live("s"))
        fleet.clock.seconds += 299
        assert (await here.use("s")).record.handshake is None
        assert await here.sessions.sleep(here.live("s"))
        fleet.clock.seconds += 1
        with pytest.raises(SessionExpiredError):
            await here.use("s")

    run(tmp_path, scenario)


def test_a_session_that_is_ended_is_ended_for_all_who_use_it(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        live = await here.create("s")
        await here.settle(live, "resources/subscribe", {"uri": "file:///a"})
        async with here.sessions.using(S, ADA), here.sessions.using(S, ADA):
            await here.sessions.end(live)
            assert live.ended
            with pytest.raises(SessionMovedError):
                await live.journal.commit(Changes(storage={"k": b"late"}))
        record = (await here.seen("s")).record
        assert (record.closed, record.owner) == (Closed.ENDED, NOBODY)
        assert record.expires_millis == fleet.clock.now_millis() + KEEP_CLOSED_MILLIS
        assert not here.has("s")
        assert fleet.app.cleaned == ["file:///a"]
        for server in (here, there):
            with pytest.raises(SessionEndedError):
                await server.use("s")
            with pytest.raises(SessionEndedError):
                await server.sessions.create(S, ADA, "")

    run(tmp_path, scenario)


def test_a_session_is_ended_even_if_its_client_goes_away_meanwhile(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        gate = here.store.hold_before("commit")
        ending = asyncio.create_task(here.sessions.end(live))
        await gate.arrived.wait()
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        fleet.clock.seconds += 120
        await here.lease.ensure()
        live.doubtful = False
        with pytest.raises(SessionEndedError):  # and it is not touched: it is as good as ended
            await here.use("s")
        gate.opened.set()
        await until(lambda: not here.has("s"), "the end of the session")
        assert (await here.seen("s")).record.closed is Closed.ENDED

    run(tmp_path, scenario)


def test_an_end_that_is_not_on_record_has_not_happened(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("s")
        fleet.backend.take_away()
        with pytest.raises(StoreUnavailableError):
            await here.sessions.end(live)
        fleet.backend.bring_back()
        assert await here.use("s") is live
        await here.sessions.end(live)

    run(tmp_path, scenario)


def test_a_session_that_others_own_by_now_is_not_ended_here(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        live = await here.create("s")
        fleet.clock.seconds += LEASE_SECONDS + 1
        await there.use("s")
        with pytest.raises(SessionMovedError):
            await here.sessions.end(live)
        assert (await there.use("s")).record.closed is None

    run(tmp_path, scenario)


def test_a_session_that_is_lost_while_it_is_looked_for_is_elsewhere_and_nothing_began(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        live = await here.create("s")
        fleet.clock.seconds += 120
        await here.lease.ensure()
        live.doubtful = False
        gate = here.store.hold_before("commit")
        writing = asyncio.create_task(live.journal.commit(Changes()))
        await gate.arrived.wait()
        assert await there.store.claim(S, there.node, seen_epoch=1) is not None
        using_gate = here.store.hold_before("commit")  # of the use, which is put on record
        using = asyncio.create_task(here.use("s"))
        gate.opened.set()
        with pytest.raises(SessionMovedError):
            await writing
        await using_gate.arrived.wait()
        fleet.backend.take_away()
        using_gate.opened.set()
        with pytest.raises(SessionError) as refused:
            await using
        assert type(refused.value) is SessionElsewhereError
        fleet.backend.bring_back()

    run(tmp_path, scenario)
