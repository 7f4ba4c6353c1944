"""A server that drains gives sessions back, takes none, and serves on what nobody else can."""

from pathlib import Path

import pytest
from tests.unit.session.session_servers import ADA, LEASE_SECONDS, Fleet, asleep, run

from linkspan_session.errors import DrainingError, SessionElsewhereError
from linkspan_session.store import NOBODY, Changes, SessionId

S = SessionId("s")


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
