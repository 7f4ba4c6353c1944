"""Opening a SQLite file: one of each older layout lives on, and what cannot be opened is refused."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Final

import pytest
from tests.requirements import requirement
from tests.stores.backends import SqliteBackend
from tests.stores.scenarios import (
    ADA,
    BOB,
    CONTENT,
    HERE,
    event,
    record,
    run,
    seen,
    writer,
)

from linkspan_process.errors import StartError
from linkspan_session.errors import TooManySessionsError
from linkspan_session.store import (
    NOBODY,
    Changes,
    Closed,
    Handshake,
    NodeId,
    SessionId,
    SessionRecord,
    Store,
    StreamRecord,
)
from linkspan_session.store.tasks import TaskId, TaskQuestion, TaskStatus

OLD: Final = 1_700_000_000_000
DAY: Final = 24 * 3_600_000


async def nothing(store: Store) -> None:
    return None


# --- files that are refused ----------------------------------------------------------------------


def refusal_to_open(sqlite: SqliteBackend) -> str:
    with pytest.raises(StartError) as refused:
        asyncio.run(sqlite.open())
    message = str(refused.value)
    assert str(sqlite.path) in message
    assert "\n" not in message
    return message


def test_a_file_of_a_newer_layout_is_refused_and_left_alone(sqlite: SqliteBackend) -> None:
    run(sqlite, nothing)
    sqlite.execute("PRAGMA user_version = 99")
    assert refusal_to_open(sqlite).startswith("a newer version of Linkspan made ")
    assert sqlite.execute("PRAGMA user_version") == [(99,)]


def test_what_is_no_database_is_refused(sqlite: SqliteBackend) -> None:
    sqlite.path.parent.mkdir()
    sqlite.path.write_text("dear diary, " * 100)
    assert refusal_to_open(sqlite).startswith("cannot open the session store ")
    assert sqlite.path.read_text().startswith("dear diary")


def test_a_folder_that_is_a_file_is_refused(sqlite: SqliteBackend) -> None:
    sqlite.path.parent.write_text("")
    assert refusal_to_open(sqlite).startswith("cannot open the session store ")


def test_a_file_that_is_a_folder_is_refused(sqlite: SqliteBackend) -> None:
    sqlite.path.mkdir(parents=True)
    assert refusal_to_open(sqlite).startswith("cannot open the session store ")


# --- files of older layouts ----------------------------------------------------------------------


def schema(sqlite: SqliteBackend) -> set[tuple[object, ...]]:
    return set(sqlite.execute("SELECT type, name, sql FROM sqlite_master"))


OLD_SESSIONS: Final = (
    SessionRecord(
        SessionId("a"),
        ADA,
        Handshake("2025-11-25", '{"clientInfo":{"name":"é"}}', initialized=True),
        created_millis=OLD,
        last_active_millis=OLD + 5000,
        expires_millis=OLD + 5000 + DAY,
    ),
    SessionRecord(
        SessionId("b"),
        ADA,
        None,
        created_millis=OLD + 1,
        last_active_millis=OLD + 1,
        expires_millis=OLD + 1 + DAY,
    ),
    SessionRecord(
        SessionId("c"),
        BOB,
        Handshake("2025-06-18", "{}", initialized=False),
        created_millis=OLD + 2,
        last_active_millis=OLD + 9000,
        expires_millis=OLD + 9000 + DAY,
    ),
)


@requirement("store.versions")
@pytest.mark.parametrize("layout", [1, 2, 3, 4])
def test_a_file_of_an_older_layout_is_brought_to_this_one(
    sqlite: SqliteBackend, tmp_path: Path, layout: int
) -> None:
    sqlite.put_layout(layout)
    run(sqlite, nothing)
    new = SqliteBackend(tmp_path / "new")
    new.path.parent.parent.mkdir()
    run(new, nothing)
    assert schema(sqlite) == schema(new)
    for check in ("PRAGMA foreign_key_check", "PRAGMA user_version"):
        assert sqlite.execute(check) == new.execute(check)
    assert sqlite.execute("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("layout", [1, 2, 3, 4])
def test_the_sessions_of_an_older_file_live_on(sqlite: SqliteBackend, layout: int) -> None:
    async def scenario(store: Store) -> None:
        sessions = store.sessions
        page = await sessions.list_page(None, 10)
        assert tuple(found.record for found in page) == OLD_SESSIONS
        assert [found.owner_alive for found in page] == [False, False, False]
        for old in OLD_SESSIONS:
            assert (old.owner, old.epoch, old.version) == (NOBODY, 1, 1)
            claimed = await sessions.claim(old.session_id, HERE, seen_epoch=1)
            assert claimed is not None
            assert claimed == dataclasses.replace(old, owner=HERE, epoch=2)
            assert await sessions.commit(writer(claimed), CONTENT) == 2

    sqlite.put_layout(layout)
    run(sqlite, scenario)


@pytest.mark.parametrize("layout", [1, 2, 3, 4])
def test_the_sessions_of_an_older_file_are_counted_and_expire(
    sqlite: SqliteBackend, layout: int
) -> None:
    async def scenario(store: Store) -> None:
        sessions = store.sessions
        for principal, count in ((ADA, 2), (BOB, 1)):
            new = record("new", principal=principal)
            with pytest.raises(TooManySessionsError):
                await sessions.create(new, max_of_principal=count)
        keep = OLD + 2 * DAY
        assert await sessions.expire(OLD + DAY + 6000, keep_until_millis=keep, limit=10) == 2
        assert [(await seen(store, each)).closed for each in "abc"] == [
            Closed.EXPIRED,
            Closed.EXPIRED,
            None,
        ]
        assert await sessions.create(record("new"), max_of_principal=1) is None

    sqlite.put_layout(layout)
    run(sqlite, scenario)


@pytest.mark.parametrize("layout", [3, 4])
def test_the_streams_of_an_older_file_live_on(sqlite: SqliteBackend, layout: int) -> None:
    a = SessionId("a")

    def old(name: str, request_id: int | str | None, last: int = 0) -> StreamRecord:
        return StreamRecord(
            a, name, request_id, "00-trace", OLD + 7, finished=last > 1, last_sequence=last
        )

    async def scenario(store: Store) -> None:
        sessions = store.sessions
        wanted = [old("done", 1, 2), old("open", "x", 1), old("listening", None)]
        there = [await sessions.get_stream(a, each.stream_id) for each in wanted]
        assert there == wanted
        assert await sessions.read_events(a, "done", after=0) == [(1, b'{"n":1}'), (2, b'{"n":2}')]
        keys = tuple(SessionId(each) for each in "abc")
        sizes = await sessions.stored_bytes(keys)
        assert sizes == dict(zip(keys, (21, 0, 2), strict=True))
        claimed = await sessions.claim(a, HERE, seen_epoch=1)
        assert claimed is not None
        # What is there already is counted: the finished stream gives way, then the first event.
        await sessions.commit(writer(claimed), Changes(events=(event("open", 2, b"x" * 20),)))
        assert await sessions.get_stream(a, "done") is None
        assert await sessions.read_events(a, "open", after=0) == [(2, b"x" * 20)]
        assert (await sessions.stored_bytes((a,)))[a] == 20

    sqlite.put_layout(layout)
    run(sqlite, scenario, max_log_bytes=25)
    assert sqlite.execute("SELECT session_id, finished_streams FROM sessions") == [
        ("a", 0),
        ("b", 0),
        ("c", 1),
    ]


@pytest.mark.parametrize("layout", [2, 3, 4])
def test_the_tasks_of_an_older_file_live_on(sqlite: SqliteBackend, layout: int) -> None:
    async def scenario(store: Store) -> None:
        task = await store.tasks.get(TaskId("task"), OLD + 1)
        assert task is not None
        assert (task.principal, task.status) == (ADA, TaskStatus.INPUT_REQUIRED)
        assert task.questions == (TaskQuestion("1-name", "{}"),)
        assert await store.tasks.unfinished(NodeId("4f0c")) == {TaskId("task"): 1}
        assert not await store.nodes.is_alive(NodeId("4f0c"))
        assert await store.tasks.replace(task)

    sqlite.put_layout(layout)
    run(sqlite, scenario)


def test_a_migration_that_fails_leaves_the_file_as_it_was(sqlite: SqliteBackend) -> None:
    sqlite.put_layout(2)
    sqlite.execute("CREATE TABLE nodes (mine)")  # the last migration is in the way of it
    before = schema(sqlite)
    assert "nodes already exists" in refusal_to_open(sqlite)
    assert schema(sqlite) == before
    assert sqlite.execute("PRAGMA user_version") == [(2,)]
