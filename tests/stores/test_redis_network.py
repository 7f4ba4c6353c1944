"""Connections to the store in Redis that are reset while idle, or lead to who is no master any more.

With the event loop of production: uvloop closes a connection that was reset at once, and says so to
whoever writes next by an error of no kind that redis-py knows.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.stores.scenarios import CONTENT, create, record, seen, until
from tests.support.proxy import BrokenNetworkProxy, running_proxy
from tests.support.valkey import ValkeyServer, running_valkey

from linkspan_session.store import Changes, SessionId
from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES
from linkspan_session.store.redis import RedisStore

A = SessionId("a")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with running_valkey(tmp_path / "one") as running:
        yield running


@pytest.fixture
def way(server: ValkeyServer) -> Iterator[BrokenNetworkProxy]:
    """The way to the server."""
    with running_proxy(server.port) as proxy:
        yield proxy


def run(
    way: BrokenNetworkProxy, scenario: Callable[[RedisStore], Coroutine[Any, Any, None]]
) -> None:
    async def main() -> None:
        store = RedisStore.connect(f"redis://{way.address}/0", max_log_bytes=DEFAULT_MAX_LOG_BYTES)
        try:
            async with asyncio.timeout(30):
                await scenario(store)
        finally:
            await store.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


async def use_connections(store: RedisStore, count: int) -> None:
    """Have so many connections, idle."""
    await asyncio.gather(*(store.sessions.get(A) for _ in range(count)))


async def reset(way: BrokenNetworkProxy) -> None:
    """Reset all connections, and wait until this process has heard of it."""
    probe, writer = await asyncio.open_connection("127.0.0.1", way.port)
    writer.write(b"PING\r\n")
    assert await probe.readline() == b"+PONG\r\n"
    await asyncio.to_thread(way.reset)
    with suppress(ConnectionResetError):
        await probe.read()
    for _ in range(10):  # turns of the event loop
        await asyncio.sleep(0)
    writer.close()


@pytest.mark.parametrize("connections", [1, 5])
def test_connections_that_are_reset_while_idle_are_not_noticed(
    way: BrokenNetworkProxy, connections: int
) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        for version in range(2, 12):
            await use_connections(store, connections)
            await reset(way)
            assert await store.sessions.commit(ownership, Changes()) == version
            await use_connections(store, connections)
            await asyncio.to_thread(way.reset)  # which the event loop has heard of, or not yet
            await use_connections(store, connections)

    run(way, scenario)


def test_connections_to_who_is_no_master_any_more_are_given_up(
    way: BrokenNetworkProxy, server: ValkeyServer, tmp_path: Path
) -> None:
    with running_valkey(tmp_path / "two") as successor:

        async def in_step() -> bool:
            return bool(successor.ask("INFO", "replication")["master_link_status"] == "up")

        async def scenario(store: RedisStore) -> None:
            ownership = await create(store)
            await use_connections(store, 5)
            server.ask("CONFIG", "SET", "repl-diskless-sync-delay", 0)
            successor.ask("REPLICAOF", "127.0.0.1", server.port)
            await until(in_step, "a replica")
            successor.ask("REPLICAOF", "NO", "ONE")
            server.ask("REPLICAOF", "127.0.0.1", successor.port)
            way.upstream = successor.port  # as a name leads to the new master
            assert await store.sessions.commit(ownership, CONTENT) == 2
            assert await seen(store) == record("a", version=2)
            for version in range(3, 9):
                assert await store.sessions.commit(ownership, Changes()) == version

        run(way, scenario)
