"""Sessions fall asleep and wake, on one server or on another: one wakes them, and nothing is half."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.unit.session.session_servers import ADA, Fleet, Gate, asleep, run, until

from linkspan_session.errors import SessionElsewhereError
from linkspan_session.exchange import Exchange
from linkspan_session.live import LiveSession
from linkspan_session.store import NOBODY, Changes, SessionId

S = SessionId("s")


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
