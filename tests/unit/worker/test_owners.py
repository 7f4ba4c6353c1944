"""Who owns which session, as far as it is remembered, and the ways to owners that are kept open."""

import asyncio

from tests.requirements import requirement
from tests.unit.worker.scripted import ScriptedServer, hangs, serving

from linkspan.session.v1.session_service_pb2 import HandleRequestRequest
from linkspan_worker.owners import OwnerCache, OwnerRoutes
from linkspan_worker.placement import Route, open_owner

TIMEOUT_SECONDS = 30.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_owner_is_remembered_as_long_as_it_is_used() -> None:
    clock = Clock()
    owners = OwnerCache(clock, idle_seconds=30.0)
    owners.put("s", "a:1#x")
    for _ in range(3):
        clock.now += 30.0
        assert owners.get("s") == "a:1#x"
    clock.now += 30.1
    assert owners.get("s") == ""
    assert len(owners) == 0


def test_an_owner_is_replaced_and_forgotten() -> None:
    owners = OwnerCache(Clock())
    owners.put("s", "a:1#x")
    owners.put("s", "b:1#y")
    assert owners.get("s") == "b:1#y"
    owners.forget("s")
    owners.forget("s")
    assert owners.get("s") == ""


def test_the_session_that_was_not_used_for_longest_makes_room() -> None:
    owners = OwnerCache(Clock(), capacity=2)
    owners.put("first", "a:1#x")
    owners.put("second", "a:1#x")
    assert owners.get("first")
    owners.put("third", "a:1#x")
    assert [bool(owners.get(session)) for session in ("first", "second", "third")] == [
        True,
        False,
        True,
    ]


class Opened:
    """Opens routes, and tells which are closed."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.closed: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, address: str) -> Route:
        self.addresses.append(address)
        route = open_owner(address)
        close = route.close

        async def closing() -> None:
            await close()
            self.closed.put_nowait(address)

        route.close = closing  # type: ignore[method-assign]
        return route


def test_a_way_is_opened_once_for_all_runs_of_a_server_and_closed_when_idle() -> None:
    async def main() -> None:
        opened = Opened()
        async with asyncio.timeout(TIMEOUT_SECONDS), serving("A") as (server,):
            routes = OwnerRoutes(opened, idle_seconds=0.05)
            route = routes.route_to(f"{server.address}#one")
            assert routes.route_to(f"{server.address}#two") is route
            assert opened.addresses == [server.address]
            assert await opened.closed.get() == server.address
            assert len(routes) == 0
            assert routes.route_to(f"{server.address}#one") is not route
            await routes.close()

    asyncio.run(main())


def test_a_way_in_use_stays_open_until_its_calls_have_ended() -> None:
    async def main() -> None:
        opened = Opened()
        async with asyncio.timeout(TIMEOUT_SECONDS), serving("busy", "idle") as (busy, idle):
            routes = OwnerRoutes(opened, capacity=1, idle_seconds=0.05)
            call = await held(routes.route_to(busy.owner), busy)
            routes.route_to(idle.owner)
            assert len(routes) == 2, "more than the capacity are in use, or about to be"
            assert await opened.closed.get() == idle.address
            assert len(routes) == 1
            call.cancel()
            assert await opened.closed.get() == busy.address
            await routes.close()

    asyncio.run(main())


def test_the_way_that_was_not_used_for_longest_makes_room() -> None:
    async def main() -> None:
        opened = Opened()
        async with asyncio.timeout(TIMEOUT_SECONDS), serving("A", "B", "C") as (a, b, c):
            routes = OwnerRoutes(opened, capacity=2)
            for server in (a, b, a, c):
                routes.route_to(server.owner)
            assert await opened.closed.get() == b.address
            assert len(routes) == 2
            await routes.close()
            assert {opened.closed.get_nowait(), opened.closed.get_nowait()} == {
                a.address,
                c.address,
            }

    asyncio.run(main())


@requirement("tls.reload")
def test_retired_ways_are_opened_anew_and_the_old_ones_closed_once_idle() -> None:
    async def main() -> None:
        opened = Opened()
        async with asyncio.timeout(TIMEOUT_SECONDS), serving("busy", "idle") as (busy, idle):
            routes = OwnerRoutes(opened, idle_seconds=0.05, retired_seconds=0.05)
            old = routes.route_to(busy.owner)
            call = await held(old, busy)
            routes.route_to(idle.owner)
            routes.retire(opened("placement"))
            assert len(routes) == 0
            closed = {await opened.closed.get(), await opened.closed.get()}
            assert closed == {idle.address, "placement"}
            new = routes.route_to(busy.owner)
            assert new is not old
            assert await opened.closed.get() == busy.address  # the new one, which nobody uses
            assert not call.done()
            call.cancel()
            assert await opened.closed.get() == busy.address
            await routes.close()

    asyncio.run(main())


async def held(route: Route, server: ScriptedServer) -> asyncio.Future[None]:
    """Make a call that does not end; returns what ends it when it is cancelled."""
    server.script.append(hangs())
    call = route.stub.HandleRequest(HandleRequestRequest())
    route.hold(call)
    await call.initial_metadata()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.add_done_callback(lambda _: call.cancel())
    return done
