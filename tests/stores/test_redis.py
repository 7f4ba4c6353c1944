"""What only the store in Redis has: a server that is away, hung, full, or loses its answers."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.stores.redis_backends import RedisBackend, redis_backend
from tests.stores.scenarios import (
    ADA,
    CONTENT,
    HOUR,
    NOW,
    PLENTY,
    THERE,
    create,
    event,
    record,
    stream,
    until,
    writer,
)
from tests.support.tasks import RECORD
from tests.support.valkey import ValkeyServer, free_port, running_valkey

from linkspan_process.errors import StartError
from linkspan_session.errors import NotOwnerError, StoreUnavailableError
from linkspan_session.store import Changes, Ownership, SessionId, redis_scripts
from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES
from linkspan_session.store.redis import RedisStore
from linkspan_session.store.redis_keys import (
    principal_digest,
    principal_sessions_key,
    session_keys,
)
from linkspan_session.store.redis_link import CALL_SECONDS

A = SessionId("a")
LATE_SECONDS = CALL_SECONDS + 1.0
"""How long what is bounded by `CALL_SECONDS` may take on a machine that is busy."""


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[RedisBackend]:
    with redis_backend(tmp_path) as made:
        yield made


@pytest.fixture
def server(backend: RedisBackend) -> ValkeyServer:
    return backend.nodes[0]


def run(url: str, scenario: Callable[[RedisStore], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        store = RedisStore.connect(url, max_log_bytes=DEFAULT_MAX_LOG_BYTES)
        try:
            async with asyncio.timeout(40):
                await scenario(store)
        finally:
            await store.close()

    asyncio.run(main())


def load_scripts(server: ValkeyServer) -> None:
    """Have a server know the scripts, so that the first call of each is the one that does it."""
    for script in vars(redis_scripts).values():
        if isinstance(script, redis_scripts.Script):
            server.ask("SCRIPT", "LOAD", script.source)


async def serves(store: RedisStore) -> bool:
    try:
        await store.sessions.get(A)
    except StoreUnavailableError:
        return False
    return True


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


# --- a server that does not answer ---------------------------------------------------------------


def test_a_server_that_comes_later_is_found_and_its_absence_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = ValkeyServer(tmp_path)

    async def scenario(store: RedisStore) -> None:
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await create(store)
        server.start()
        await until(lambda: serves(store), "the server")
        await create(store)

    try:
        run(server.url, scenario)
    finally:
        server.kill()
    (warning,) = warnings_of(caplog)
    assert f"the session store at 127.0.0.1:{server.port} does not answer" in warning


def test_a_hung_server_fails_all_calls_in_time_and_serves_when_it_goes_on(
    server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(store: RedisStore) -> None:
        await create(store)
        server.hang()
        began = time.monotonic()
        calls = [store.sessions.get(A) for _ in range(100)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert time.monotonic() - began < LATE_SECONDS
        assert {type(each).__mro__[1] for each in answers} == {StoreUnavailableError}
        server.go_on()
        await until(lambda: serves(store), "the server")

    run(server.url, scenario)
    assert len(warnings_of(caplog)) == 1


def test_a_server_that_restarts_under_load_loses_nothing_acknowledged(server: ValkeyServer) -> None:
    async def write(store: RedisStore, name: str, done: asyncio.Event) -> None:
        """Append to a stream as a server does that owns a session, whatever happens."""
        ownership = await create(store, name)
        await store.sessions.commit(ownership, Changes(streams=(stream("s", name),)))
        acknowledged = 0
        while not done.is_set():
            try:
                await store.sessions.commit(
                    ownership, Changes(events=(event("s", acknowledged + 1),))
                )
            except StoreUnavailableError:
                continue
            except NotOwnerError:  # the one before had been done: look, and go on
                there = await store.sessions.get_stream(ownership.session_id, "s")
                assert there is not None
                assert there.last_sequence == acknowledged + 1
            acknowledged += 1
        events = await store.sessions.read_events(ownership.session_id, "s", after=0)
        numbers = [number for number, _ in events]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= acknowledged > 0

    async def scenario(store: RedisStore) -> None:
        done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(16):
                group.create_task(write(store, str(number), done))
            for _ in range(3):
                await asyncio.sleep(0.2)  # of load
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                await until(lambda: serves(store), "the server")
            await asyncio.sleep(0.2)
            done.set()

    run(server.url, scenario)


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


def test_a_commit_that_was_given_up_is_not_done_once_the_next_one_was(server: ValkeyServer) -> None:
    def commit(token: str, void: str) -> list[str | int]:
        lists = [0, 0, 0, 0, 0]
        return [1, token, record("a").owner, 1, void, 1, 1, 0, 0, "", 0, *lists]

    async def scenario(store: RedisStore) -> None:
        await create(store)
        script, keys = redis_scripts.SESSION_COMMIT, session_keys(A)
        late = "0123456789abcdef"
        answer = await store._link.run(script, keys, *commit("f" * 16, void=late))
        assert answer[:2] == [b"ok", 2]
        assert await store._link.run(script, keys, *commit(late, void="")) == [b"refused"]

    run(server.url, scenario)


# --- connections that break ----------------------------------------------------------------------


@asynccontextmanager
async def losing_answers(server: ValkeyServer) -> AsyncGenerator[tuple[str, asyncio.Event]]:
    """Run a way to the server that, when the event is set, cuts a connection in place of an answer.

    Yields:
        The address, and the event, which is cleared when an answer was lost.
    """
    lose = asyncio.Event()

    cut: list[asyncio.Event] = []

    async def carry(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, *, back: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if back and lose.is_set():
                    lose.clear()
                    break
                target.write(data)
                await target.drain()
        target.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over = asyncio.Event()
        cut.append(over)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(carry(reader, far_writer, back=False))
            group.create_task(carry(far_reader, writer, back=True))
        over.set()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as listening:
        yield f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}", lose
        for each in cut:
            await each.wait()


WRITES: dict[str, tuple[Callable[[RedisStore], Coroutine[Any, Any, object]], object]] = {
    "create": (
        lambda store: store.sessions.create(record("b"), max_of_principal=2),
        None,
    ),
    "claim": (
        lambda store: store.sessions.claim(A, THERE, seen_epoch=1),
        record("a", owner=THERE, epoch=2),
    ),
    "commit": (lambda store: store.sessions.commit(writer(record("a")), CONTENT), 2),
    "commit and release": (
        lambda store: store.sessions.commit(writer(record("a")), Changes(release=True)),
        2,
    ),
    "tasks.create": (
        lambda store: store.tasks.create(RECORD, max_unfinished=1, max_kept=1),
        True,
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_whose_answer_is_lost_is_done_once(server: ValkeyServer, name: str) -> None:
    write, expected = WRITES[name]
    load_scripts(server)

    async def main() -> None:
        async with asyncio.timeout(20), losing_answers(server) as (url, lose):
            store = RedisStore.connect(url, max_log_bytes=DEFAULT_MAX_LOG_BYTES)
            await create(store)
            lose.set()
            assert await write(store) == expected
            assert not lose.is_set()
            await store.close()

    asyncio.run(main())


def test_connections_that_are_cut_are_not_noticed(server: ValkeyServer) -> None:
    async def write(store: RedisStore, ownership: Ownership) -> None:
        for version in range(2, 200):
            assert await store.sessions.commit(ownership, Changes(storage={"x": b""})) == version

    async def scenario(store: RedisStore) -> None:
        owned = [await create(store, str(number)) for number in range(16)]
        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(write(store, each)) for each in owned]
            while not all(each.done() for each in writers):
                await asyncio.to_thread(server.ask, "CLIENT", "KILL", "TYPE", "normal")
                await asyncio.sleep(0.05)

    run(server.url, scenario)


def test_scripts_that_the_server_forgets_are_sent_again(server: ValkeyServer) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        for version in range(2, 5):
            server.ask("SCRIPT", "FLUSH")
            assert await store.sessions.commit(ownership, Changes()) == version

    run(server.url, scenario)


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
