"""Room for live sessions: who makes it, who finds none, and where sessions go that were shed."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.unit.session.session_servers import ADA, Fleet, asleep, run

from linkspan_session.errors import OverloadedError, SessionElsewhereError
from linkspan_session.session_limits import SessionLimits
from linkspan_session.store import NOBODY, SessionId

S = SessionId("s")
TWO = SessionLimits(max_live=2)


# --- room ----------------------------------------------------------------------------------------


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
