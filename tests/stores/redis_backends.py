"""Valkey as a backend of the suite: one server of a test's own, and a cluster that tests share."""

import asyncio
import atexit
import logging
import tempfile
from collections.abc import Callable, Coroutine, Generator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot
from tests.support.valkey import ValkeyServer, running_cluster, running_valkey, wait_for_cluster

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store import redis_scripts
from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES, SessionId
from linkspan_session.store.redis import RedisStore
from linkspan_session.store.redis_keys import session_keys, task_key
from linkspan_session.store.tasks import TaskId


class RedisBackend:
    """A server, or the nodes of a cluster."""

    expires_by_itself = False

    def __init__(self, nodes: list[ValkeyServer]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        if len(self.nodes) == 1:
            return self.nodes[0].url
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://{hosts}"

    async def open(self, *, max_log_bytes: int = DEFAULT_MAX_LOG_BYTES) -> RedisStore:
        return RedisStore.connect(self.url, max_log_bytes=max_log_bytes)

    def take_away(self) -> None:
        for node in self.nodes:
            node.kill()

    def bring_back(self) -> None:
        for node in self.nodes:
            node.start()
        if len(self.nodes) > 1:
            wait_for_cluster(self.nodes)

    def set_session_version(self, session_id: SessionId, version: int) -> None:
        self.ask(session_keys(session_id)[0], "HSET", "layout", version)

    def set_task_version(self, task_id: TaskId, version: int) -> None:
        self.ask(task_key(task_id), "HSET", "layout", version)

    def ask(self, key: str, command: str, *words: str | int) -> Any:
        """Send a command about a key behind the store's back, and return the answer."""
        return self.node_of(key).ask(command, key, *words)

    def node_of(self, key: str) -> ValkeyServer:
        """Return the node that holds a key."""
        slot = key_slot(key.encode())
        return self.nodes[slot * len(self.nodes) // 16384]


@contextmanager
def redis_backend(folder: Path) -> Generator[RedisBackend]:
    """A server with its data in `folder`."""
    with running_valkey(folder / "valkey") as server:
        yield RedisBackend([server])


@contextmanager
def redis_cluster_backend(folder: Path) -> Generator[RedisBackend]:
    """Three servers that make a cluster, and outlive the block, as it takes them seconds to."""
    backend = RedisBackend(_shared_cluster())
    for node in backend.nodes:
        node.ask("FLUSHALL")
    try:
        yield backend
    finally:
        if not all(node.running for node in backend.nodes):
            backend.bring_back()


def run(url: str, scenario: Callable[[RedisStore], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario on a store at an address."""

    async def main() -> None:
        store = RedisStore.connect(url, max_log_bytes=DEFAULT_MAX_LOG_BYTES)
        try:
            async with asyncio.timeout(40):
                await scenario(store)
        finally:
            await store.close()

    asyncio.run(main())


async def serves(store: RedisStore) -> bool:
    """Tell whether a store answers."""
    try:
        await store.sessions.get(SessionId("a"))
    except StoreUnavailableError:
        return False
    return True


def load_scripts(server: ValkeyServer) -> None:
    """Have a server know the scripts, so that the first call of each is the one that does it."""
    for script in vars(redis_scripts).values():
        if isinstance(script, redis_scripts.Script):
            server.ask("SCRIPT", "LOAD", script.source)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged that somebody should look at."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


@cache
def _shared_cluster() -> list[ValkeyServer]:
    stack = ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="linkspan-cluster-")))
    return stack.enter_context(running_cluster(folder))
