"""Sessions of one session server, from their creation to their end: one owner, one in memory."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
from tests.unit.session.session_servers import ADA, BOB, LEASE_SECONDS, Fleet, asleep, run, until

from linkspan_session.errors import (
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
from linkspan_session.life import KEEP_CLOSED_MILLIS
from linkspan_session.session_limits import SessionLimits
from linkspan_session.store import NOBODY, Changes, Closed, SessionId

S = SessionId("s")


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
