"""Commits of which nobody knows whether the server in Redis did them, or will."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError  # noqa: A004 - not the built-in one
from tests.stores.redis_backends import load_scripts, run, serves
from tests.stores.scenarios import CONTENT, HOUR, NOW, THERE, create, record, seen, until, writer
from tests.support.valkey import ValkeyServer, running_valkey

from linkspan_session.errors import NotOwnerError, StoreUnavailableError
from linkspan_session.store import Changes, SessionId, redis_scripts
from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES
from linkspan_session.store.redis import RedisStore
from linkspan_session.store.redis_address import parse_address
from linkspan_session.store.redis_connections import RedisServer, Word
from linkspan_session.store.redis_keys import session_keys
from linkspan_session.store.redis_link import RedisLink

A = SessionId("a")

TOUCH = Changes(last_active_millis=NOW + 5, expires_millis=NOW + 2 * HOUR)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with running_valkey(tmp_path) as running:
        yield running


def test_a_commit_that_was_given_up_is_told_from_one_that_never_was(server: ValkeyServer) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        load_scripts(server)
        server.hang()
        with pytest.raises(StoreUnavailableError):
            await store.sessions.commit(ownership, Changes(storage={"late": b"1"}))
        server.go_on()  # and now it does what it was asked
        await until(lambda: serves(store), "the server")
        with pytest.raises(NotOwnerError):
            await store.sessions.commit(ownership, Changes(storage={"next": b"2"}))
        assert await store.sessions.read_storage(A) == {"late": b"1"}
        claimed = await store.sessions.claim(A, THERE, seen_epoch=1)
        assert claimed is not None
        assert await store.sessions.commit(writer(claimed), Changes(storage={"n": b"2"})) == 3

    run(server.url, scenario)


@pytest.mark.parametrize("changes", [TOUCH, Changes()])
def test_a_touch_that_was_given_up_and_done_costs_nobody_the_session(
    server: ValkeyServer, changes: Changes
) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        load_scripts(server)
        server.hang()
        with pytest.raises(StoreUnavailableError):
            await store.sessions.commit(ownership, changes)
        server.go_on()  # and now it does what it was asked
        await until(lambda: serves(store), "the server")
        assert (await seen(store)).version == 2
        assert await store.sessions.commit(ownership, CONTENT) == 3
        claimed = await store.sessions.claim(A, THERE, seen_epoch=1)
        assert claimed is not None
        with pytest.raises(NotOwnerError):
            await store.sessions.commit(ownership, TOUCH)

    run(server.url, scenario)


def test_a_touch_does_not_cover_up_a_commit_that_was_given_up_and_done(
    server: ValkeyServer,
) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        load_scripts(server)
        server.hang()
        for changes in (Changes(storage={"late": b"1"}), TOUCH):
            with pytest.raises(StoreUnavailableError):
                await store.sessions.commit(ownership, changes)
        server.go_on()
        await until(lambda: serves(store), "the server")
        with pytest.raises(NotOwnerError):
            await store.sessions.commit(ownership, TOUCH)
        assert await store.sessions.read_storage(A) == {"late": b"1"}

    run(server.url, scenario)


class OnceOnly(RedisServer):
    """A way to a server that loses one answer, whereafter the server refuses all scripts."""

    losing: ValkeyServer | None = None

    async def execute(self, *words: Word, asking: bool = False) -> Any:
        answer = await super().execute(*words, asking=asking)
        if self.losing is not None:
            self.losing.ask("ACL", "SETUSER", "default", "-evalsha")
            self.losing = None
            raise ConnectionError
        return answer


def test_what_is_refused_the_second_time_may_have_been_done_the_first(
    server: ValkeyServer,
) -> None:
    async def main() -> None:
        client = OnceOnly(parse_address(server.url))
        store = RedisStore(RedisLink(client, "here"), max_log_bytes=DEFAULT_MAX_LOG_BYTES)
        ownership = await create(store)
        load_scripts(server)
        client.losing = server
        with pytest.raises(StoreUnavailableError):
            await store.sessions.commit(ownership, Changes(storage={"late": b"1"}))
        server.ask("ACL", "SETUSER", "default", "+evalsha")
        with pytest.raises(NotOwnerError):
            await store.sessions.commit(ownership, Changes(storage={"next": b"2"}))
        assert await store.sessions.read_storage(A) == {"late": b"1"}
        await store.close()

    asyncio.run(main())


def test_a_commit_that_was_given_up_is_not_done_once_the_next_one_was(server: ValkeyServer) -> None:
    def commit(token: str, void: str) -> list[str | int]:
        lists = [0, 0, 0, 0, 0]
        return [1, token, record("a").owner, 1, void, 1, 1, 0, 0, "", 0, *lists]

    async def scenario(store: RedisStore) -> None:
        await create(store)
        script, keys = redis_scripts.SESSION_COMMIT, session_keys(A)
        late = "0123456789abcdef"
        link = RedisLink.to(parse_address(server.url))
        assert (await link.run(script, keys, *commit("f" * 16, void=late)))[:2] == [b"ok", 2]
        assert await link.run(script, keys, *commit(late, void="")) == [b"refused"]
        await link.close()

    run(server.url, scenario)
