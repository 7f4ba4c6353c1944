"""What every session store promises, put to each of them; then what only one of them has.

A store joins by a `Backend` in `BACKENDS`: the real thing, a file or a server, never a stand-in.
"""

import asyncio
import dataclasses
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from linkspan_process.errors import StartError
from linkspan_session.errors import RecordTooNewError, StoreUnavailableError
from linkspan_session.store import (
    Handshake,
    Principal,
    SessionId,
    SessionRecord,
    SessionStore,
    SqliteSessionStore,
    database,
)

ADA = Principal("https://issuer.example", "ada", "https://mcp.example")
HANDSHAKE = Handshake("2025-11-25", '{"clientInfo":{"name":"é😀"}}', initialized=False)


class Backend(Protocol):
    """One kind of store, and how to do to it what happens to stores."""

    async def open(self) -> SessionStore:
        """Open the store, which keeps what it held when it was last closed."""
        ...

    def take_away(self) -> None:
        """Have the store fail at whatever it is asked."""
        ...

    def bring_back(self) -> None:
        """Undo `take_away`."""
        ...

    def age(self, session_id: str) -> None:
        """Have a record look as if a newer version of Linkspan had written it."""
        ...


class SqliteBackend:
    """A file in a folder that is not there yet."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "data" / "sessions.db"

    async def open(self) -> SessionStore:
        return await SqliteSessionStore.open(self.path)

    def take_away(self) -> None:
        self.execute("ALTER TABLE sessions RENAME TO away")

    def bring_back(self) -> None:
        self.execute("ALTER TABLE away RENAME TO sessions")

    def age(self, session_id: str) -> None:
        self.execute(f"UPDATE sessions SET record_version = 99 WHERE session_id = '{session_id}'")  # noqa: S608

    def execute(self, statement: str) -> int:
        """Run a statement behind the store's back; returns the first value, if there is one."""
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                row = connection.execute(statement).fetchone()
                return row[0] if row else 0
        finally:
            connection.close()


BACKENDS: dict[str, Callable[[Path], Backend]] = {"sqlite": SqliteBackend}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return BACKENDS[request.param](tmp_path)


@asynccontextmanager
async def opened(backend: Backend) -> AsyncGenerator[SessionStore]:
    store = await backend.open()
    try:
        yield store
    finally:
        await store.close()


def run(backend: Backend, scenario: Callable[[SessionStore], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), opened(backend) as store:
            await scenario(store)

    asyncio.run(main())


def record(
    session_id: str,
    *,
    principal: Principal = ADA,
    handshake: Handshake | None = None,
    created_millis: int = 1000,
) -> SessionRecord:
    return SessionRecord(
        SessionId(session_id), principal, handshake, created_millis, created_millis
    )


# --- what every store promises -------------------------------------------------------------------


@pytest.mark.parametrize("principal", [ADA, Principal(), Principal("", "ünïcode 😀", "'\"; --")])
@pytest.mark.parametrize("handshake", [None, HANDSHAKE])
def test_a_record_is_read_as_it_was_created(
    backend: Backend, principal: Principal, handshake: Handshake | None
) -> None:
    async def scenario(store: SessionStore) -> None:
        wanted = record("a", principal=principal, handshake=handshake)
        assert await store.create(wanted) is None
        assert await store.get(SessionId("a")) == wanted

    run(backend, scenario)


def test_what_was_never_created_is_none(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        assert await store.create(record("a")) is None
        for other in ("b", "", "A", "a ", "a' OR '1'='1"):
            assert await store.get(SessionId(other)) is None

    run(backend, scenario)


def test_creating_what_is_there_changes_nothing_and_returns_it(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        first = record("a", handshake=HANDSHAKE)
        assert await store.create(first) is None
        assert await store.create(record("a", principal=Principal(), created_millis=2)) == first
        assert await store.get(SessionId("a")) == first

    run(backend, scenario)


def test_of_two_that_create_at_once_one_wins(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        records = [record("a", created_millis=millis) for millis in range(20)]
        found = await asyncio.gather(*(store.create(each) for each in records))
        assert found.count(None) == 1
        (winner,) = set(found) - {None}
        assert await store.get(SessionId("a")) == winner == records[found.index(None)]

    run(backend, scenario)


def test_a_handshake_is_kept_and_may_be_kept_again(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        await store.create(record("a"))
        await store.create(record("b"))
        later = dataclasses.replace(HANDSHAKE, initialized=True)
        for handshake in (HANDSHAKE, later):
            assert await store.save_handshake(SessionId("a"), handshake)
            assert await store.get(SessionId("a")) == record("a", handshake=handshake)
        assert await store.get(SessionId("b")) == record("b")

    run(backend, scenario)


def test_a_handshake_of_no_session_is_refused(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        assert not await store.save_handshake(SessionId("a"), HANDSHAKE)
        assert await store.get(SessionId("a")) is None

    run(backend, scenario)


def test_touching_moves_the_last_use_and_nothing_else(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        await store.create(record("a", handshake=HANDSHAKE))
        await store.create(record("b"))
        await store.touch(SessionId("a"), 5000)
        wanted = dataclasses.replace(record("a", handshake=HANDSHAKE), last_active_millis=5000)
        assert await store.get(SessionId("a")) == wanted
        assert await store.get(SessionId("b")) == record("b")

    run(backend, scenario)


def test_a_deleted_record_is_gone_and_stays_gone(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        await store.create(record("a"))
        assert await store.delete(SessionId("a"))
        assert not await store.delete(SessionId("a"))
        await store.touch(SessionId("a"), 5000)
        assert not await store.save_handshake(SessionId("a"), HANDSHAKE)
        assert await store.get(SessionId("a")) is None
        assert await store.create(record("a", principal=Principal())) is None

    run(backend, scenario)


def test_pages_hold_every_record_once_oldest_first_ties_by_id(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        # Created in another order than they are listed in, many in the same millisecond.
        created = [record(f"{n % 7}-{n}", created_millis=n % 3) for n in range(40)]
        for each in created:
            await store.create(each)
        wanted = sorted(created, key=lambda each: (each.created_millis, each.session_id))
        for limit in (1, 3, 13, 40, 1000):
            listed: list[SessionRecord] = []
            after: tuple[int, SessionId] | None = None
            while page := await store.list_page(after, limit):
                assert len(page) <= limit
                listed += page
                after = (page[-1].created_millis, page[-1].session_id)
            assert listed == wanted

    run(backend, scenario)


def test_an_empty_store_has_an_empty_page(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        assert await store.list_page(None, 10) == []
        assert await store.list_page((10**15, SessionId("z")), 10) == []

    run(backend, scenario)


def test_a_page_starts_where_the_one_before_ended_even_if_that_record_is_gone(
    backend: Backend,
) -> None:
    async def scenario(store: SessionStore) -> None:
        for each in ("a", "b", "c"):
            await store.create(record(each))
        (first,) = await store.list_page(None, 1)
        await store.delete(first.session_id)
        after = (first.created_millis, first.session_id)
        assert [each.session_id for each in await store.list_page(after, 10)] == ["b", "c"]

    run(backend, scenario)


def test_what_was_acknowledged_survives_reopening(backend: Backend) -> None:
    async def before(store: SessionStore) -> None:
        for each in ("kept", "ended"):
            await store.create(record(each))
        await store.save_handshake(SessionId("kept"), HANDSHAKE)
        await store.touch(SessionId("kept"), 7000)
        await store.delete(SessionId("ended"))

    async def after(store: SessionStore) -> None:
        wanted = dataclasses.replace(record("kept", handshake=HANDSHAKE), last_active_millis=7000)
        assert await store.list_page(None, 10) == [wanted]

    run(backend, before)
    run(backend, after)


def test_a_record_of_a_newer_version_is_refused_and_not_misread(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        await store.create(record("old"))
        await store.create(record("new"))
        backend.age("new")
        with pytest.raises(RecordTooNewError):
            await store.get(SessionId("new"))
        with pytest.raises(RecordTooNewError):
            await store.create(record("new"))
        assert await store.get(SessionId("old")) == record("old")

    run(backend, scenario)


def test_a_store_that_fails_says_so_and_has_changed_nothing(backend: Backend) -> None:
    async def scenario(store: SessionStore) -> None:
        there = record("a", handshake=HANDSHAKE)
        await store.create(there)
        backend.take_away()
        attempts: list[Awaitable[object]] = [
            store.create(record("b")),
            store.get(SessionId("a")),
            store.save_handshake(SessionId("a"), dataclasses.replace(HANDSHAKE, initialized=True)),
            store.touch(SessionId("a"), 9000),
            store.delete(SessionId("a")),
            store.list_page(None, 10),
        ]
        for attempt in attempts:
            with pytest.raises(StoreUnavailableError):
                await attempt
        backend.bring_back()
        assert await store.list_page(None, 10) == [there]

    run(backend, scenario)


def test_closing_finishes_what_is_under_way(backend: Backend) -> None:
    async def scenario() -> None:
        store = await backend.open()
        creating = [asyncio.create_task(store.create(record(str(n)))) for n in range(20)]
        await asyncio.sleep(0)  # they have asked
        await store.close()
        assert await asyncio.gather(*creating) == [None] * 20
        async with opened(backend) as again:
            assert len(await again.list_page(None, 100)) == 20

    asyncio.run(scenario())


# --- SQLite --------------------------------------------------------------------------------------


@pytest.fixture
def sqlite(tmp_path: Path) -> SqliteBackend:
    return SqliteBackend(tmp_path)


def refusal_to_open(sqlite: SqliteBackend) -> str:
    with pytest.raises(StartError) as refused:
        asyncio.run(sqlite.open())
    message = str(refused.value)
    assert str(sqlite.path) in message
    assert "\n" not in message
    return message


def test_sqlite_refuses_a_file_of_a_newer_version(sqlite: SqliteBackend) -> None:
    async def nothing(store: SessionStore) -> None:
        return None

    run(sqlite, nothing)
    current = sqlite.execute("PRAGMA user_version")
    sqlite.execute("PRAGMA user_version = 99")
    assert refusal_to_open(sqlite).startswith("a newer version of Linkspan made ")
    sqlite.execute(f"PRAGMA user_version = {current}")
    run(sqlite, nothing)


def test_sqlite_refuses_what_is_no_database(sqlite: SqliteBackend) -> None:
    sqlite.path.parent.mkdir()
    sqlite.path.write_text("dear diary, " * 100)
    assert refusal_to_open(sqlite).startswith("cannot open the session store ")
    assert sqlite.path.read_text().startswith("dear diary")


def test_sqlite_refuses_a_folder_that_is_a_file(sqlite: SqliteBackend) -> None:
    sqlite.path.parent.write_text("")
    assert refusal_to_open(sqlite).startswith("cannot open the session store ")


def test_sqlite_refuses_a_file_that_is_a_folder(sqlite: SqliteBackend) -> None:
    sqlite.path.mkdir(parents=True)
    assert refusal_to_open(sqlite).startswith("cannot open the session store ")


def test_sqlite_waits_for_another_writer_off_the_event_loop(sqlite: SqliteBackend) -> None:
    async def scenario(store: SessionStore) -> None:
        other = sqlite3.connect(sqlite.path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            creating = asyncio.create_task(store.create(record("a")))
            for _ in range(100):  # the loop turns while the store waits
                await asyncio.sleep(0)
            assert not creating.done()
            other.execute("COMMIT")
            assert await creating is None
        finally:
            other.close()

    run(sqlite, scenario)


def test_sqlite_does_not_wait_for_another_writer_for_ever(
    sqlite: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_SECONDS", 0.05)

    async def scenario(store: SessionStore) -> None:
        other = sqlite3.connect(sqlite.path, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailableError):
                await store.create(record("a"))
            other.execute("ROLLBACK")
            assert await store.create(record("a")) is None
        finally:
            other.close()

    run(sqlite, scenario)


def test_sqlite_may_be_opened_by_several_at_once(sqlite: SqliteBackend) -> None:
    async def scenario() -> None:
        stores = await asyncio.gather(*(sqlite.open() for _ in range(5)))
        try:
            for number, store in enumerate(stores):
                assert await store.create(record(str(number))) is None
            for store in stores:
                assert len(await store.list_page(None, 10)) == 5
        finally:
            for store in stores:
                await store.close()

    asyncio.run(scenario())
