"""A worker is ready if any session server takes calls, whatever becomes of the others."""

import asyncio
import time

import pytest
from grpc_health.v1 import health_pb2
from tests.support.ports import free_port
from tests.support.waiting import BUSY_SECONDS, PATIENCE_SECONDS
from tests.unit.worker.proxy import Proxy
from tests.unit.worker.scripted import reached, serving, target_of

from linkspan_worker import readiness
from linkspan_worker.readiness import Readiness
from linkspan_worker.sends import Servers

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def is_ready(servers: Servers, timeout_seconds: float = PATIENCE_SECONDS) -> bool:
    return await Readiness(lambda: servers.placement).is_serving(timeout_seconds=timeout_seconds)


def test_one_server_that_takes_calls_is_enough() -> None:
    async def main() -> None:
        async with serving("A", "B", "C") as all_servers:
            for server in all_servers:
                await server.say(NOT_SERVING)
            async with reached(target_of(*all_servers)) as servers:
                assert not await is_ready(servers)
                for server in all_servers * 5:
                    await server.say(SERVING)
                    assert await is_ready(servers)
                    await server.say(NOT_SERVING)

    asyncio.run(main())


def test_a_dead_server_beside_one_that_takes_calls_does_no_harm() -> None:
    async def main() -> None:
        async with (
            serving("A") as (a,),
            reached(f"{target_of(a)},127.0.0.1:{free_port()}") as servers,
        ):
            for _ in range(5):
                assert await is_ready(servers)

    asyncio.run(main())


def test_without_any_server_a_worker_is_not_ready_and_says_so_at_once() -> None:
    async def main() -> None:
        async with reached(f"127.0.0.1:{free_port()}") as servers:
            began = time.monotonic()
            assert not await is_ready(servers)
            assert time.monotonic() - began < BUSY_SECONDS

    asyncio.run(main())


def test_a_silent_server_beside_one_that_takes_calls_does_no_harm() -> None:
    async def main() -> None:
        async with (
            serving("A", "B") as (a, b),
            Proxy(b.port) as proxy,
            reached(f"{target_of(a)},{proxy.address}") as servers,
        ):
            assert await is_ready(servers)
            proxy.fall_silent()
            for _ in range(3):
                assert await is_ready(servers)

    asyncio.run(main())


def test_servers_that_are_all_silent_are_waited_for_no_longer_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(readiness, "_CHECK_SECONDS", 2 * BUSY_SECONDS)

    async def main() -> None:
        async with (
            serving("A") as (a,),
            Proxy(a.port) as proxy,
            reached(proxy.address) as servers,
        ):
            proxy.fall_silent()
            began = time.monotonic()
            assert not await is_ready(servers, timeout_seconds=1.0)
            assert time.monotonic() - began < 1.0 + BUSY_SECONDS

    asyncio.run(main())
