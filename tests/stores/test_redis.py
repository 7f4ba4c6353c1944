"""What only the store in Redis has: servers that refuse, addresses, and keys that expire."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stores.redis_backends import RedisBackend, redis_backend, run, warnings_of
from tests.stores.scenarios import ADA, CONTENT, HOUR, NOW, PLENTY, create, event, record, stream
from tests.support.ports import free_port
from tests.support.valkey import ValkeyServer, running_valkey

from linkspan_process.errors import StartError
from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store import Changes, SessionId
from linkspan_session.store.redis import RedisStore
from linkspan_session.store.redis_keys import (
    principal_digest,
    principal_sessions_key,
    session_keys,
)

A = SessionId("a")


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[RedisBackend]:
    with redis_backend(tmp_path) as made:
        yield made


@pytest.fixture
def server(backend: RedisBackend) -> ValkeyServer:
    return backend.nodes[0]


# --- servers that refuse -------------------------------------------------------------------------


def test_a_server_without_memory_changes_nothing(server: ValkeyServer) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        server.ask("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreUnavailableError):
            await store.sessions.commit(ownership, CONTENT)
        assert await store.sessions.read_storage(A) == {}
        server.ask("CONFIG", "SET", "maxmemory", 0)
        assert await store.sessions.commit(ownership, CONTENT) == 2

    run(server.url, scenario)


def test_a_server_that_became_a_replica_is_unavailable(server: ValkeyServer) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        server.ask("REPLICAOF", "127.0.0.1", free_port())
        with pytest.raises(StoreUnavailableError):
            await store.sessions.commit(ownership, CONTENT)
        server.ask("REPLICAOF", "NO", "ONE")
        assert await store.sessions.commit(ownership, CONTENT) == 2

    run(server.url, scenario)


def test_a_password_opens_the_server_and_is_never_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def succeeds(store: RedisStore) -> None:
        await create(store)

    async def fails(store: RedisStore) -> None:
        with pytest.raises(StoreUnavailableError):
            await create(store, "b")

    with running_valkey(tmp_path, options=("--requirepass", "open/sesame")) as server:
        place = f"127.0.0.1:{server.port}"
        run(f"redis://:open%2Fsesame@{place}/0", succeeds)
        run(f"valkey://default:wrongsesame@{place}", fails)
        run(f"redis://{place}", fails)
    assert len(warnings_of(caplog)) == 2
    assert "sesame" not in caplog.text


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///0",
        "redis://:sesame@/0",
        "redis://:sesame@host:port/0",
        "redis://:sesame@host:99999",
        "redis://:sesame@host/zero",
        "redis://:sesame@one,two",
        "redis://:sesame@host?ssl_ca_certs=/ca.pem",
        "rediss://:sesame@host?socket_timeout=1",
        "redis://:sesame#@host",
        "redis://:sesame\u2100@host",
        "redis+cluster://:sesame@one,two/1",
        "redis+cluster://one,,two",
        "redis+sentinel://:sesame@host",
    ],
)
def test_a_malformed_address_stops_the_start_without_telling_secrets(url: str) -> None:
    with pytest.raises(StartError) as caught:
        RedisStore.connect(url, max_log_bytes=1)
    assert str(caught.value).startswith("--store: malformed address of Redis or Valkey: ")
    assert "sesame" not in str(caught.value)


# --- what is left when nobody looks --------------------------------------------------------------


def test_all_that_a_session_has_expires_by_itself(backend: RedisBackend) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        full = stream("s", request_key="r")
        await store.sessions.commit(
            ownership,
            Changes(streams=(full,), events=(event("s", 1, last=True),), storage={"x": b""}),
        )
        day = 24 * HOUR
        kept, *others = (backend.ask(key, "PTTL") for key in session_keys(A))
        assert day + HOUR < kept < 2 * (day + HOUR)
        assert all(HOUR < each < 2 * HOUR for each in others)

    run(backend.url, scenario)


def test_a_session_that_is_used_is_looked_at_again_later(backend: RedisBackend) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        later = NOW + 3 * HOUR
        await store.sessions.commit(
            ownership, Changes(last_active_millis=NOW + 2 * HOUR, expires_millis=later)
        )
        keep = later + HOUR
        assert await store.sessions.expire(later - 1, keep_until_millis=keep, limit=1) == 0
        assert await store.sessions.expire(later, keep_until_millis=keep, limit=1) == 1

    run(backend.url, scenario)


def test_places_that_a_crash_left_taken_are_freed(backend: RedisBackend) -> None:
    async def scenario(store: RedisStore) -> None:
        places = principal_sessions_key(principal_digest(ADA))
        backend.ask(places, "ZADD", 0, "never-made")
        assert await store.sessions.create(record("a"), max_of_principal=1) is None
        assert backend.ask(places, "ZRANGE", 0, -1) == [b"a"]
        assert await store.sessions.create(record("b"), max_of_principal=PLENTY) is None

    run(backend.url, scenario)
