"""A lease: fresh only while nobody can have taken over, and doubt as soon as somebody may have."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.session.session_servers import LEASE_SECONDS, Clock, Fleet, Gate, renew, run, until

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.lease import Lease
from linkspan_session.store import NodeId, NodeLoad, NodeRegistry

HERE = NodeId("127.0.0.1:1#this run")


class GatedNodes:
    """A real registry; the next renewal can be held up before or after it is on record."""

    def __init__(self, nodes: NodeRegistry) -> None:
        self._nodes = nodes
        self.before: Gate | None = None
        self.after: Gate | None = None
        self.renewals = 0

    async def hold(
        self, node: NodeId, *, lease_seconds: float, live_sessions: int
    ) -> tuple[NodeLoad, ...]:
        self.renewals += 1
        before, self.before = self.before, None
        after, self.after = self.after, None
        if before is not None:
            await before.passed()
        held = await self._nodes.hold(
            node, lease_seconds=lease_seconds, live_sessions=live_sessions
        )
        if after is not None:
            await after.passed()
        return held

    async def is_alive(self, node: NodeId) -> bool:
        return await self._nodes.is_alive(node)

    async def leave(self, node: NodeId) -> None:
        await self._nodes.leave(node)


class Told:
    """A lease, and what it told."""

    def __init__(
        self, nodes: NodeRegistry, clock: Clock, *, seconds: float = LEASE_SECONDS
    ) -> None:
        self.nodes = GatedNodes(nodes)
        self.lease = Lease(
            self.nodes, HERE, seconds=seconds, live_sessions=lambda: 7, clock=clock.now
        )
        self.told: list[str] = []
        self.lease.on_lapse = lambda: self.told.append("lapsed")
        self.lease.on_renewed = lambda: self.told.append("renewed")
        self.lease.on_store = lambda answers: self.told.append(
            "the store answers" if answers else "the store is away"
        )


async def holding(fleet: Fleet, *, seconds: float = LEASE_SECONDS) -> Told:
    server = await fleet.start("keeps the store")
    return Told(server.nodes, fleet.clock, seconds=seconds)


def test_a_lease_is_fresh_from_when_it_was_asked_for_and_for_its_seconds(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet)
        assert not held.lease.fresh
        await held.lease.ensure()
        assert held.lease.peers == (NodeLoad(HERE, 7),)
        for seconds, fresh in ((0, True), (LEASE_SECONDS - 0.5, True), (0.5, False), (60, False)):
            fleet.clock.seconds += seconds
            assert held.lease.fresh is fresh
            assert await held.nodes.is_alive(HERE) is fresh
        assert held.told == ["the store answers", "renewed"]

    run(tmp_path, scenario)


def test_a_fresh_lease_is_not_renewed_for_a_request(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet)
        await asyncio.gather(*(held.lease.ensure() for _ in range(5)))
        fleet.clock.seconds += LEASE_SECONDS / 2
        await held.lease.ensure()
        assert held.nodes.renewals == 1

    run(tmp_path, scenario)


def test_the_time_that_the_store_takes_counts_against_the_lease(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet)
        held.nodes.after = gate = Gate()
        ensuring = asyncio.create_task(held.lease.ensure())
        await gate.arrived.wait()
        fleet.clock.seconds += LEASE_SECONDS
        gate.opened.set()
        await ensuring
        assert not held.lease.fresh

    run(tmp_path, scenario)


def test_a_lease_that_ran_out_is_told_once_when_it_is_held_again(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet)
        await held.lease.ensure()
        fleet.clock.seconds += LEASE_SECONDS - 1
        await renew(held.lease)
        assert held.lease.lapses == 0
        fleet.clock.seconds += LEASE_SECONDS
        held.told.clear()
        await asyncio.gather(held.lease.ensure(), held.lease.ensure())
        assert held.told == ["lapsed", "renewed"]
        assert held.lease.lapses == 1

    run(tmp_path, scenario)


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_lease_that_ran_out_while_it_was_renewed_had_run_out(tmp_path: Path, where: str) -> None:
    """Others may have claimed before the store heard of the renewal, and nobody knows when it did."""

    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet)
        await held.lease.ensure()
        fleet.clock.seconds += LEASE_SECONDS - 1
        gate = Gate()
        setattr(held.nodes, where, gate)
        renewing = asyncio.create_task(held.lease.keep())
        await gate.arrived.wait()
        fleet.clock.seconds += 2
        gate.opened.set()
        await until(lambda: held.told.count("renewed") == 2, "the renewal")
        renewing.cancel()
        assert held.lease.fresh
        assert "lapsed" in held.told

    run(tmp_path, scenario)


def test_a_lease_is_kept_in_spite_of_a_store_that_is_away_for_a_while(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet, seconds=0.03)
        keeping = asyncio.create_task(held.lease.keep())
        await until(lambda: held.told.count("renewed") >= 2, "renewals")
        fleet.backend.take_away()
        await until(lambda: held.told[-1] == "the store is away", "the outage")
        fleet.backend.bring_back()
        await until(lambda: held.told[-1] == "renewed", "the end of the outage")
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
        told = [each for each in held.told if each.startswith("the store")]
        assert told == ["the store answers", "the store is away", "the store answers"]

    run(tmp_path, scenario)


def test_those_that_wait_for_a_lease_share_an_attempt_that_fails(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet)
        fleet.backend.take_away()
        results = await asyncio.gather(
            *(held.lease.ensure() for _ in range(10)), return_exceptions=True
        )
        assert {type(each) for each in results} == {StoreUnavailableError}
        assert held.nodes.renewals == 1
        fleet.backend.bring_back()
        await held.lease.ensure()
        assert held.lease.fresh

    run(tmp_path, scenario)


def test_whoever_goes_away_while_it_waits_for_the_lease_keeps_nobody_from_it(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet)
        held.nodes.before = gate = Gate()
        first = asyncio.create_task(held.lease.ensure())
        await gate.arrived.wait()
        second = asyncio.create_task(held.lease.ensure())
        await asyncio.sleep(0)
        first.cancel()
        await second
        assert held.lease.fresh
        assert first.cancelled()

    run(tmp_path, scenario)


def test_a_lease_that_is_given_up_is_over_at_once(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet)
        await held.lease.ensure()
        await held.lease.leave()
        assert not held.lease.fresh
        assert not await held.nodes.is_alive(HERE)
        await held.lease.leave()

    run(tmp_path, scenario)


def test_a_lease_that_cannot_be_given_up_runs_out(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet)
        await held.lease.ensure()
        fleet.backend.take_away()
        await held.lease.leave()
        assert not held.lease.fresh
        fleet.backend.bring_back()
        assert await held.nodes.is_alive(HERE)
        fleet.clock.seconds += LEASE_SECONDS
        assert not await held.nodes.is_alive(HERE)

    run(tmp_path, scenario)


def test_former_runs_at_this_address_are_over_and_other_addresses_are_not(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        held = await holding(fleet)
        former, other = NodeId("127.0.0.1:1#former run"), NodeId("127.0.0.1:11#other")
        for node in (former, other):
            await held.nodes.hold(node, lease_seconds=60, live_sessions=1)
        await held.lease.ensure()
        assert not await held.nodes.is_alive(former)
        assert await held.nodes.is_alive(other)
        assert await held.nodes.is_alive(HERE)
        # Later on this one has no right to: whoever came after it has the port by now.
        await held.nodes.hold(former, lease_seconds=60, live_sessions=1)
        fleet.clock.seconds += LEASE_SECONDS
        await held.lease.ensure()
        assert await held.nodes.is_alive(former)

    run(tmp_path, scenario)
