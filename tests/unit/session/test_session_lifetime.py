"""The end of a session's lifetime: whoever uses it, whoever listens; what runs may end."""

from pathlib import Path

import pytest
from tests.unit.session.session_servers import ADA, BOB, Fleet, SessionServer, asleep, run

from linkspan_session.errors import (
    SessionEndedError,
    SessionExpiredError,
    SessionNotFoundError,
    SessionTooOldError,
)
from linkspan_session.exchange import Exchange
from linkspan_session.housekeeping import Housekeeping
from linkspan_session.session_limits import SessionLimits
from linkspan_session.store import NOBODY, Closed, SessionId
from linkspan_session.tallies import tallies

TTL = 3600.0
LIFETIME = 4 * TTL
REQUEST = 600.0
LIMITS = SessionLimits(
    ttl_millis=round(TTL * 1000),
    lifetime_millis=round(LIFETIME * 1000),
    request_millis=round(REQUEST * 1000),
)
S = SessionId("s")


def rounds_of(server: SessionServer) -> Housekeeping:
    return Housekeeping(
        server.sessions,
        server.store,
        server.lease,
        sleep_after_seconds=TTL,
        ttl_seconds=TTL,
        now_millis=server.clock.now_millis,
    )


async def grow_old(server: SessionServer, seconds: float = LIFETIME) -> None:
    """Let time pass while a session is used again and again."""
    steps = 8
    for _ in range(steps - 1):
        server.clock.seconds += seconds / steps
        await server.use("s")
    server.clock.seconds += seconds / steps


@pytest.mark.parametrize(
    ("ttl", "lifetime", "request_seconds", "age", "left"),
    [
        (100, None, 300, 0, 100),
        (100, None, 300, 10_000_000, 100),
        (100, 1000, 10, 0, 100),
        (100, 1000, 10, 970, 100),
        (100, 1000, 10, 971, 99),  # as it ends, a request that has begun, and a minute
        (100, 1000, 10, 1070, 0),
        (100, 50, 10, 0, 100),
        (100, 20, 10, 0, 90),
    ],
)
def test_a_session_expires_when_unused_or_when_its_lifetime_and_what_runs_are_over(
    ttl: int, lifetime: int | None, request_seconds: int, age: int, left: int
) -> None:
    limits = SessionLimits(ttl_millis=ttl * 1000, request_millis=request_seconds * 1000)
    if lifetime is not None:
        limits = SessionLimits(
            ttl_millis=ttl * 1000,
            lifetime_millis=lifetime * 1000,
            request_millis=request_seconds * 1000,
        )
    created = 1_700_000_000_000
    now = created + age * 1000
    assert limits.expires_millis(created, now) == now + left * 1000


def test_a_session_that_is_used_all_the_time_is_refused_from_the_end_of_its_lifetime_on(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        await here.create("s")
        await grow_old(here, LIFETIME - 1)
        await here.use("s")
        fleet.clock.seconds += 1
        with pytest.raises(SessionTooOldError):
            await here.use("s")
        with pytest.raises(SessionNotFoundError):  # of which others are not told
            async with here.sessions.using(S, BOB):
                pass
        assert here.live("s").users == 0

    run(tmp_path, scenario)


def test_a_session_asleep_or_in_doubt_is_refused_and_not_woken(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here", LIMITS), await fleet.start("there", LIMITS, port=2)
        await asleep(here)
        in_doubt = await here.create("t")
        in_doubt.doubtful = True
        fleet.clock.seconds += LIFETIME
        for server in (here, there):  # also one that does not have it
            for name in ("s", "t"):
                with pytest.raises(SessionTooOldError):
                    await server.use(name)
        assert (await here.seen("s")).record.epoch == 1  # nobody has claimed it
        assert not there.has("s")
        assert here.quiet

    run(tmp_path, scenario)


def test_a_lifetime_that_was_shortened_counts_for_sessions_that_are_on_record(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        unbound = await fleet.start("unbound", SessionLimits())
        await asleep(unbound)
        fleet.clock.seconds += LIFETIME
        here = await fleet.start("here", LIMITS, port=2)
        with pytest.raises(SessionTooOldError):
            await here.use("s")
        assert (await unbound.use("s")).record.session_id == S

    run(tmp_path, scenario)


def test_who_listens_is_cut_off_at_the_end_and_the_session_is_closed(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        live = await here.create("s")
        await live.listen(Exchange())
        rounds = rounds_of(here)
        for _ in range(8):
            await rounds.tend()
            assert live.can_ask
            assert not live.ended
            fleet.clock.seconds += LIFETIME / 8
        swept, ends = tallies.swept, tallies.ends
        await rounds.tend()
        assert not live.can_ask
        assert live.ended
        assert not here.has("s")
        record = (await here.seen("s")).record
        assert (record.closed, record.owner) == (Closed.EXPIRED, NOBODY)
        assert (tallies.swept - swept, tallies.ends - ends) == (1, 0)
        with pytest.raises(SessionExpiredError):
            await here.use("s")

    run(tmp_path, scenario)


def test_what_runs_at_the_end_may_end_and_the_session_is_closed_then(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here", LIMITS), await fleet.start("there", LIMITS, port=2)
        live = await here.create("s")
        rounds = rounds_of(here)
        fleet.clock.seconds += LIFETIME / 8
        await grow_old(here, 7 * LIFETIME / 8 - 1)
        async with here.sessions.using(S, ADA):
            fleet.clock.seconds += REQUEST
            await rounds.tend()
            await rounds_of(there).sweep()
            with pytest.raises(SessionTooOldError):
                await here.use("s")
            await here.settle(live, "logging/setLevel", {"level": "error"})  # still on record
        assert (await here.seen("s")).record.preferences.log_level == "error"
        await rounds.tend()
        assert (await here.seen("s")).record.closed is Closed.EXPIRED
        assert not here.has("s")

    run(tmp_path, scenario)


def test_a_session_asleep_is_swept_after_its_lifetime(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        await here.create("s")
        await grow_old(here, LIFETIME - 1)
        assert await here.sessions.sleep(here.live("s"))
        fleet.clock.seconds += REQUEST + 62
        await rounds_of(here).sweep()
        assert (await here.seen("s")).record.closed is Closed.EXPIRED

    run(tmp_path, scenario)


def test_a_session_that_was_ended_is_told_so_also_after_its_lifetime(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        await here.sessions.end(await here.create("s"))
        fleet.clock.seconds += LIFETIME
        with pytest.raises(SessionEndedError):
            await here.use("s")

    run(tmp_path, scenario)


def test_a_store_that_is_away_at_the_end_closes_the_session_later(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        live = await here.create("s")
        await grow_old(here)
        fleet.backend.take_away()
        assert not await here.sessions.expire(live)
        assert not live.ended
        fleet.backend.bring_back()
        assert await here.sessions.expire(live)
        assert (await here.seen("s")).record.closed is Closed.EXPIRED

    run(tmp_path, scenario)


def test_operators_see_when_nobody_may_use_a_session_any_more(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        live = await here.create("s")
        await grow_old(here, LIFETIME - 1)
        await here.use("s")
        record = (await here.seen("s")).record
        ends_millis = record.created_millis + LIFETIME * 1000
        assert record.expires_millis > ends_millis
        assert here.sessions.as_known_here(record).expires_millis == ends_millis
        await here.sessions.end(live)
        closed = (await here.seen("s")).record
        assert here.sessions.as_known_here(closed).expires_millis == closed.expires_millis

    run(tmp_path, scenario)


def test_a_session_is_not_closed_before_its_time(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here", LIMITS)
        live = await here.create("s")
        await grow_old(here, LIFETIME - 1)
        assert not await here.sessions.expire(live)
        await here.use("s")

    run(tmp_path, scenario)
