"""What a SQLite file that others keep busy, or a disk that is slow, does to those who wait for it."""

import asyncio
import sqlite3
import threading
import time

import pytest
from tests.stores.backends import SqliteBackend
from tests.stores.scenarios import CONTENT, HERE, create, record, run, seen

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store import Changes, SessionId, Store, database, sqlite_line

A = SessionId("a")

LATE_SECONDS = 5.0
"""How much longer what is bounded may take on a machine that is busy itself."""


def test_a_commit_waits_for_another_writer_off_the_event_loop(sqlite: SqliteBackend) -> None:
    async def scenario(store: Store) -> None:
        with sqlite.another_writer() as other:
            creating = asyncio.create_task(create(store))
            for _ in range(100):  # the loop turns while the store waits
                await asyncio.sleep(0)
            assert not creating.done()
            other.execute("COMMIT")
            await creating

    run(sqlite, scenario)


def test_a_commit_does_not_wait_for_another_writer_for_ever(
    sqlite: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_line, "_BUSY_TIMEOUT_SECONDS", 0.05)

    async def scenario(store: Store) -> None:
        ownership = await create(store)
        with sqlite.another_writer() as other:
            for changes in (Changes(), CONTENT):
                with pytest.raises(StoreUnavailableError):
                    await store.sessions.commit(ownership, changes)
            assert await seen(store) == record("a")  # who reads does not wait
            other.execute("ROLLBACK")
        assert await store.sessions.commit(ownership, CONTENT) == 2

    run(sqlite, scenario)


def test_those_in_line_behind_a_busy_file_share_its_failure(sqlite: SqliteBackend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        with sqlite.another_writer() as other:
            began = time.monotonic()
            calls = [store.sessions.commit(ownership, CONTENT) for _ in range(8)]
            lease = store.nodes.hold(HERE, lease_seconds=9, live_sessions=1)
            answers = await asyncio.gather(*calls, lease, return_exceptions=True)
            assert time.monotonic() - began < 1.0 + LATE_SECONDS
            assert {type(each) for each in answers} == {StoreUnavailableError}
            other.execute("ROLLBACK")
        assert await store.sessions.commit(ownership, Changes()) == 2
        assert await store.sessions.read_storage(A) == {}
        assert not await store.nodes.is_alive(HERE)

    run(sqlite, scenario)


def test_who_comes_after_a_failure_is_tried_anew(
    sqlite: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_line, "_BUSY_TIMEOUT_SECONDS", 0.05)

    async def scenario(store: Store) -> None:
        ownership = await create(store)
        for version in (2, 3):
            with sqlite.another_writer() as other:
                for _ in range(3):
                    with pytest.raises(StoreUnavailableError):
                        await store.sessions.commit(ownership, Changes())
                other.execute("ROLLBACK")
            assert await store.sessions.commit(ownership, Changes()) == version

    run(sqlite, scenario)


def test_who_reads_does_not_wait_behind_who_waits_to_write(
    sqlite: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_line, "_BUSY_TIMEOUT_SECONDS", 30.0)
    monkeypatch.setattr(sqlite_line, "_CALL_SECONDS", 30.0)

    async def scenario(store: Store) -> None:
        ownership = await create(store)
        with sqlite.another_writer() as other:
            commits = [
                asyncio.create_task(store.sessions.commit(ownership, Changes())) for _ in range(3)
            ]
            await asyncio.sleep(0)
            for _ in range(20):
                assert await seen(store) == record("a")
            assert not any(each.done() for each in commits)
            other.execute("ROLLBACK")
        assert await asyncio.gather(*commits) == [2, 3, 4]
        assert await seen(store) == record("a", version=4)

    run(sqlite, scenario)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_who_waited_in_line_for_too_long_is_told_so_and_not_served_later(
    sqlite: SqliteBackend, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(sqlite_line, "_CALL_SECONDS", 0.2)

    async def main() -> None:
        file = await database.SqliteDatabase.open(sqlite.path)
        ask = file.read if kind == "read" else file.write
        slow, go_on = threading.Event(), threading.Event()
        ran: list[str] = []

        def hold_up(_: sqlite3.Connection) -> str:
            slow.set()
            assert go_on.wait(20)
            return "done, if late"

        first = asyncio.create_task(ask(hold_up))
        assert await asyncio.to_thread(slow.wait, 20)
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            await ask(lambda _: ran.append("given up"))
        assert time.monotonic() - began < 0.2 + LATE_SECONDS
        assert not first.done()
        cancelled = asyncio.create_task(ask(lambda _: ran.append("cancelled")))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()
        go_on.set()
        assert await first == "done, if late"
        await ask(lambda _: ran.append("next"))
        assert ran == ["next"]
        await file.close()

    asyncio.run(main())


def test_who_waited_in_line_waits_less_for_the_file(
    sqlite: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_line, "_BUSY_TIMEOUT_SECONDS", 10.0)
    monkeypatch.setattr(sqlite_line, "_CALL_SECONDS", 0.5)

    async def scenario(store: Store) -> None:
        ownership = await create(store)
        with sqlite.another_writer() as other:
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await store.sessions.commit(ownership, Changes())
            assert time.monotonic() - began < 0.5 + LATE_SECONDS
            other.execute("ROLLBACK")
        assert await store.sessions.commit(ownership, Changes()) == 2

    run(sqlite, scenario)


def test_who_reads_sees_what_was_committed_before(sqlite: SqliteBackend) -> None:
    async def commit(store: Store, name: str) -> None:
        ownership = await create(store, name)
        for version in range(2, 60):
            assert await store.sessions.commit(ownership, Changes()) == version
            assert (await seen(store, name)).version == version

    async def scenario(store: Store) -> None:
        await asyncio.gather(*(commit(store, str(each)) for each in range(6)))

    run(sqlite, scenario)
