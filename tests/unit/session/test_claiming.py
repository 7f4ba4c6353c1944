"""Claims of sessions whose owner a caller could not reach, against owners that are really there."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2_grpc
from tests.support.ports import free_port
from tests.unit.session.session_servers import ADA, LEASE_SECONDS, Fleet, SessionServer, run

from linkspan_session import claiming
from linkspan_session.errors import (
    DrainingError,
    OwnerUnreachableError,
    SessionElsewhereError,
    SessionEndedError,
    SessionNotFoundError,
)
from linkspan_session.ownership import Probed
from linkspan_session.probing import probe
from linkspan_session.store import NodeId, SessionId

S = SessionId("s")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "_POLL_SECONDS", 0.005)


@asynccontextmanager
async def answering() -> AsyncGenerator[int]:
    """A gRPC server that says whether it is well."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def silent() -> AsyncGenerator[int]:
    """A port whose process is stopped, as it looks from outside: the kernel takes connections."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port: int = listening.getsockname()[1]
        yield port


# --- probes --------------------------------------------------------------------------------------


def probed(node: str, timeout_seconds: float = 0.5) -> Probed:
    async def main() -> Probed:
        async with asyncio.timeout(30):
            return await probe(NodeId(node), timeout_seconds=timeout_seconds)

    return asyncio.run(main())


def test_a_port_that_nobody_listens_on_refuses() -> None:
    assert probed(f"127.0.0.1:{free_port()}#run", 20) is Probed.REFUSES
    assert probed(f"localhost:{free_port()}#run", 20) is Probed.REFUSES


def test_a_server_that_says_whether_it_is_well_answers() -> None:
    async def main() -> Probed:
        async with asyncio.timeout(30), answering() as port:
            return await probe(NodeId(f"127.0.0.1:{port}#run"), timeout_seconds=20)

    assert asyncio.run(main()) is Probed.ANSWERS


def test_a_port_that_takes_connections_and_never_answers_is_silent() -> None:
    async def main() -> Probed:
        async with asyncio.timeout(30), silent() as port:
            return await probe(NodeId(f"127.0.0.1:{port}#run"), timeout_seconds=0.3)

    assert asyncio.run(main()) is Probed.SILENT


@pytest.mark.parametrize(
    "node", ["", "#run", "nowhere#run", "127.0.0.1:#run", "no.such.invalid:1#"]
)
def test_an_address_that_leads_nowhere_is_silent(node: str) -> None:
    assert probed(node) is Probed.SILENT


# --- claims --------------------------------------------------------------------------------------


async def owned(fleet: Fleet, port: int) -> tuple[SessionServer, SessionServer]:
    """Start a server, and one at a port that owns a session; returns both."""
    here = await fleet.start("here", port=1)
    owner = await fleet.start("owner", port=port)
    await owner.create("s")
    await here.lease.ensure()
    return here, owner


def test_what_is_owned_by_a_process_that_is_gone_is_taken_over_at_once(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, owner = await owned(fleet, free_port())
        with pytest.raises(SessionElsewhereError) as refused:  # its lease has not ended
            await here.use("s")
        assert refused.value.owner == owner.node
        live = await here.use("s", unreachable=owner.node)
        assert (live.record.owner, live.record.epoch) == (here.node, 2)

    run(tmp_path, scenario)


def test_an_owner_that_answers_keeps_its_sessions(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        async with answering() as port:
            here, owner = await owned(fleet, port)
            with pytest.raises(SessionElsewhereError) as refused:
                await here.use("s", unreachable=owner.node)
        assert refused.value.owner == owner.node
        assert (await here.seen("s")).record.epoch == 1

    run(tmp_path, scenario)


def test_the_lease_of_an_owner_that_is_silent_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "probe", _silent_probe)

    async def scenario(fleet: Fleet) -> None:
        here, owner = await owned(fleet, 2)
        using = asyncio.create_task(here.use("s", unreachable=owner.node))
        assert not (await asyncio.wait({using}, timeout=0.1))[0]
        assert (await here.seen("s")).record.epoch == 1
        fleet.clock.seconds += LEASE_SECONDS
        live = await using
        assert (live.record.owner, live.record.epoch) == (here.node, 2)

    run(tmp_path, scenario)


async def _silent_probe(node: NodeId) -> Probed:
    return Probed.SILENT


def test_a_port_that_never_answers_is_waited_for(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        async with silent() as port:
            here, owner = await owned(fleet, port)
            using = asyncio.create_task(here.use("s", unreachable=owner.node))
            assert not (await asyncio.wait({using}, timeout=1.2))[0]
            fleet.clock.seconds += LEASE_SECONDS
            assert (await using).record.epoch == 2

    run(tmp_path, scenario)


def test_a_silent_owner_whose_lease_does_not_end_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "probe", _silent_probe)

    async def scenario(fleet: Fleet) -> None:
        _, owner = await owned(fleet, 2)
        here = await fleet.start("does not wait for long", port=3, lease_seconds=0.01)
        with pytest.raises(OwnerUnreachableError):
            await here.use("s", unreachable=owner.node)
        assert here.quiet

    run(tmp_path, scenario)


def test_waiting_ends_when_the_session_gets_another_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "probe", _silent_probe)

    async def scenario(fleet: Fleet) -> None:
        here, owner = await owned(fleet, 2)
        third = await fleet.start("third", port=3)
        await third.lease.ensure()
        using = asyncio.create_task(here.use("s", unreachable=owner.node))
        assert not (await asyncio.wait({using}, timeout=0.05))[0]
        assert await third.store.claim(S, third.node, seen_epoch=1) is not None
        with pytest.raises(SessionElsewhereError) as refused:
            await using
        assert refused.value.owner == third.node

    run(tmp_path, scenario)


def test_waiting_ends_when_the_session_is_ended_or_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "probe", _silent_probe)

    async def scenario(fleet: Fleet) -> None:
        here, owner = await owned(fleet, 2)
        await owner.create("t")
        ended = asyncio.create_task(here.use("s", unreachable=owner.node))
        gone = asyncio.create_task(here.use("t", unreachable=owner.node))
        assert not (await asyncio.wait({ended, gone}, timeout=0.05))[0]
        await owner.sessions.end(owner.live("s"))
        fleet.backend.execute("DELETE FROM sessions WHERE session_id = ?", "t")
        with pytest.raises(SessionEndedError):
            await ended
        with pytest.raises(SessionNotFoundError):
            await gone

    run(tmp_path, scenario)


def test_a_server_that_began_to_drain_while_it_waited_takes_nothing_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "probe", _silent_probe)

    async def scenario(fleet: Fleet) -> None:
        here, owner = await owned(fleet, 2)
        using = asyncio.create_task(here.use("s", unreachable=owner.node))
        assert not (await asyncio.wait({using}, timeout=0.05))[0]
        here.sessions.drain()
        fleet.clock.seconds += LEASE_SECONDS
        with pytest.raises(DrainingError):
            await using
        assert (await here.seen("s")).record.epoch == 1

    run(tmp_path, scenario)


def test_of_two_that_take_over_at_once_one_does_and_the_other_is_sent_there(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, owner = await owned(fleet, free_port())
        third = await fleet.start("third", port=3)
        gate = here.store.hold_before("claim")
        using = asyncio.create_task(here.use("s", unreachable=owner.node))
        await gate.arrived.wait()
        assert (await third.use("s", unreachable=owner.node)).record.epoch == 2
        gate.opened.set()
        with pytest.raises(SessionElsewhereError) as refused:
            await using
        assert refused.value.owner == third.node
        async with third.sessions.using(S, ADA):
            pass

    run(tmp_path, scenario)


def test_a_session_that_is_ended_just_before_the_claim_is_told_as_ended(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, owner = await owned(fleet, free_port())
        gate = here.store.hold_before("claim")
        using = asyncio.create_task(here.use("s", unreachable=owner.node))
        await gate.arrived.wait()
        await owner.sessions.end(owner.live("s"))
        gate.opened.set()
        with pytest.raises(SessionEndedError):
            await using

    run(tmp_path, scenario)
