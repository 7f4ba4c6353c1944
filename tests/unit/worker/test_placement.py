"""Which session server a call goes to, what a lost one costs, and what gRPC says of either."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import grpc
import pytest
from tests.support.ports import free_port
from tests.support.waiting import BUSY_SECONDS
from tests.unit.worker.proxy import Proxy
from tests.unit.worker.scripted import (
    ScriptedServer,
    aborts,
    hangs,
    says,
    serving,
    target_of,
)

from linkspan.session.v1.session_service_pb2 import HandleRequestRequest, HandleRequestResponse
from linkspan_worker.placement import Route, open_owner, open_placement, routed, was_never_sent

KEYS: Final = [f"session-{n}" for n in range(40)]
TIMEOUT_SECONDS: Final = 30.0


@asynccontextmanager
async def placed(target: str) -> AsyncGenerator[Route]:
    route = open_placement(target)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield route
    finally:
        await route.close()


async def who_answers(route: Route, key: str) -> str:
    call = route.stub.HandleRequest(
        HandleRequestRequest(), metadata=routed(key), timeout=TIMEOUT_SECONDS
    )
    event = await call.read()
    assert isinstance(event, HandleRequestResponse)
    assert await call.code() is grpc.StatusCode.OK
    return event.message.json


async def where(route: Route) -> dict[str, str]:
    return {key: await who_answers(route, key) for key in KEYS}


async def failure_of(route: Route, key: str = "") -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await who_answers(route, key)
    return failed.value


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a call shows that gRPC has noticed something, which no event announces."""
    while not await condition():  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(0.01)


def test_calls_with_one_key_go_to_one_server_and_keys_spread_over_all() -> None:
    async def main() -> None:
        async with serving("A", "B", "C") as servers, placed(target_of(*servers)) as route:
            first = await where(route)
            assert await where(route) == first
            assert set(first.values()) == {"A", "B", "C"}

    asyncio.run(main())


def test_two_workers_agree_where_a_key_goes() -> None:
    async def main() -> None:
        async with serving("A", "B") as servers:
            target = target_of(*servers)
            async with placed(target) as one, placed(target) as another:
                assert await where(one) == await where(another)

    asyncio.run(main())


def test_calls_without_a_key_work_and_spread() -> None:
    async def main() -> None:
        async with serving("A", "B") as servers, placed(target_of(*servers)) as route:
            await where(route)  # connected to both
            seen = Counter([await who_answers(route, "") for _ in range(60)])
            assert set(seen) == {"A", "B"}

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["", "dns:", "dns:///"])
def test_a_single_server_by_its_address_or_name_is_placement_enough(scheme: str) -> None:
    async def main() -> None:
        async with serving("A") as (server,), placed(f"{scheme}localhost:{server.port}") as route:
            assert await who_answers(route, "k") == "A"
            assert await who_answers(route, "") == "A"

    asyncio.run(main())


def test_the_keys_of_a_dead_server_go_elsewhere_at_once_and_come_back() -> None:
    async def main() -> None:
        async with serving("A", "B") as (a, b), placed(target_of(a, b)) as route:
            before = await where(route)
            await a.stop()

            async def all_go_to_b() -> bool:
                try:
                    return set((await where(route)).values()) == {"B"}
                except grpc.aio.AioRpcError:  # it left before gRPC noticed
                    return False

            began = time.monotonic()
            await until(all_go_to_b)
            assert time.monotonic() - began < BUSY_SECONDS
            again = ScriptedServer("A", a.port)
            await again.start()

            async def is_back() -> bool:
                return await where(route) == before

            await until(is_back)
            await again.stop()

    asyncio.run(main())


def test_a_call_that_no_server_could_be_picked_for_was_never_sent() -> None:
    async def main() -> None:
        nobody = f"127.0.0.1:{free_port()}"
        for target in (nobody, f"ipv4:{nobody},127.0.0.1:{free_port()}", "dns:no.invalid:1"):
            async with placed(target) as route:
                for key in ("k", "", "k"):
                    assert was_never_sent(await failure_of(route, key)), target
        owner = open_owner(nobody)
        assert was_never_sent(await failure_of(owner))
        await owner.close()

    asyncio.run(main())


def test_a_call_to_servers_that_have_all_gone_was_never_sent() -> None:
    async def main() -> None:
        async with serving("A", "B") as servers, placed(target_of(*servers)) as route:
            await where(route)
            for server in servers:
                await server.stop()
            while route.channel.get_state() is grpc.ChannelConnectivity.READY:
                await route.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            for key in ("k", "", "k"):
                assert was_never_sent(await failure_of(route, key))

    asyncio.run(main())


@pytest.mark.parametrize("way", [open_placement, open_owner], ids=["placement", "owner"])
def test_a_call_whose_server_stopped_was_sent(way: Callable[[str], Route]) -> None:
    async def main() -> None:
        async with serving("A") as (server,):
            route = way(server.address)
            server.script.append(hangs())
            failing = asyncio.ensure_future(failure_of(route))
            await server.arrived.wait()
            await server.stop()
            failure = await failing
            assert failure.code() is grpc.StatusCode.UNAVAILABLE
            assert not was_never_sent(failure)
            await route.close()

    asyncio.run(main())


def test_a_call_whose_connection_was_cut_was_sent() -> None:
    async def main() -> None:
        async with (
            serving("A") as (server,),
            Proxy(server.port) as proxy,
            placed(proxy.address) as route,
        ):
            server.script.append(hangs())
            failing = asyncio.ensure_future(failure_of(route))
            await server.arrived.wait()
            proxy.cut()
            failure = await failing
            assert failure.code() is grpc.StatusCode.UNAVAILABLE
            assert not was_never_sent(failure)

    asyncio.run(main())


@pytest.mark.parametrize("words", ["failed to connect to all addresses", "Socket closed", ""])
def test_what_a_server_says_itself_was_sent(words: str) -> None:
    async def main() -> None:
        async with serving("A") as (server,), placed(server.address) as route:
            code = grpc.StatusCode.UNAVAILABLE
            server.script.append(aborts(code, words=words, trailing=(("who", "a server"),)))
            assert not was_never_sent(await failure_of(route))

    asyncio.run(main())


def test_a_server_that_falls_silent_is_noticed_within_four_seconds() -> None:
    async def main() -> None:
        async with (
            serving("A") as (server,),
            Proxy(server.port) as proxy,
            placed(proxy.address) as route,
        ):
            server.script.append(hangs())
            failing = asyncio.ensure_future(failure_of(route))
            await server.arrived.wait()
            proxy.fall_silent()
            began = time.monotonic()
            failure = await failing
            assert time.monotonic() - began < 4.0 + BUSY_SECONDS
            assert not was_never_sent(failure)

    asyncio.run(main())


def test_a_connection_counts_only_if_grpc_is_spoken_on_it() -> None:
    async def main() -> None:
        async with serving("A") as (server,), Proxy(server.port) as proxy:
            proxy.fall_silent()
            silent = open_owner(proxy.address)
            assert not await silent.connect(within_seconds=0.1)
            await silent.close()
            nobody = open_owner(f"127.0.0.1:{free_port()}")
            began = time.monotonic()
            assert not await nobody.connect(within_seconds=TIMEOUT_SECONDS)
            assert time.monotonic() - began < TIMEOUT_SECONDS / 2
            await nobody.close()
            well = open_owner(server.address)
            assert not well.is_ready()
            assert await well.connect(within_seconds=TIMEOUT_SECONDS)
            assert well.is_ready()
            assert well.users == 0
            await well.close()

    asyncio.run(main())


def test_a_route_is_in_use_until_its_calls_have_ended() -> None:
    async def main() -> None:
        async with serving("A") as (server,), placed(server.address) as route:
            server.script.extend([hangs(), says()])
            held = route.stub.HandleRequest(HandleRequestRequest())
            route.hold(held)
            await held.initial_metadata()
            done = route.stub.HandleRequest(HandleRequestRequest())
            route.hold(done)
            assert route.users == 2
            await done.code()
            held.cancel()
            await held.code()

            async def is_free() -> bool:
                return not route.users

            await until(is_free)

    asyncio.run(main())
