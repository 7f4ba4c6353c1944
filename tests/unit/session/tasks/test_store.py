"""What every task store promises, put to each of them; then what only one of them has.

A store joins by a `Backend` in `BACKENDS`: the real thing, a file or a server, never a stand-in.
"""

import asyncio
import dataclasses
import sqlite3
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from tests.support.tasks import ADA, BOB, RECORD, START_MILLIS

from linkspan_session.errors import RecordTooNewError, StoreUnavailableError
from linkspan_session.store import Principal
from linkspan_session.store.database import SqliteDatabase
from linkspan_session.store.sqlite_tasks import SqliteTaskStore
from linkspan_session.store.tasks import (
    RunnerId,
    TaskId,
    TaskQuestion,
    TaskRecord,
    TaskStatus,
    TaskStore,
)

NOW = START_MILLIS
PLENTY = 1000

QUESTIONS = (
    TaskQuestion("1-é", '{"method":"elicitation/create"}', '{"action":"accept"}'),
    TaskQuestion("2-b", "{}"),
)


class Backend(Protocol):
    """One kind of store, and how to do to it what happens to stores."""

    def open(self) -> AbstractAsyncContextManager[TaskStore]:
        """Open the store, which keeps what it held when it was last closed."""
        ...

    def take_away(self) -> None:
        """Have the store fail at whatever it is asked."""
        ...

    def age(self, task_id: TaskId) -> None:
        """Have a record look as if a newer version of Linkspan had written it."""
        ...


class SqliteBackend:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "sessions.db"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[TaskStore]:
        database = await SqliteDatabase.open(self.path)
        try:
            yield SqliteTaskStore(database)
        finally:
            await database.close()

    def take_away(self) -> None:
        self.execute("ALTER TABLE tasks RENAME TO away")
        self.execute("ALTER TABLE task_runners RENAME TO runners_away")

    def age(self, task_id: TaskId) -> None:
        self.execute(f"UPDATE tasks SET record_version = 99 WHERE task_id = '{task_id}'")  # noqa: S608

    def execute(self, statement: str) -> None:
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                connection.execute(statement)
        finally:
            connection.close()


BACKENDS: dict[str, Callable[[Path], Backend]] = {"sqlite": SqliteBackend}

Scenario = Callable[[TaskStore], Coroutine[Any, Any, None]]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return BACKENDS[request.param](tmp_path)


def run(backend: Backend, scenario: Scenario) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), backend.open() as store:
            await scenario(store)

    asyncio.run(main())


async def create(
    store: TaskStore, record: TaskRecord, *, max_unfinished: int = PLENTY, max_kept: int = PLENTY
) -> bool:
    return await store.create(record, max_unfinished=max_unfinished, max_kept=max_kept)


def named(task_id: str, **changes: Any) -> TaskRecord:
    return dataclasses.replace(RECORD, task_id=TaskId(task_id), **changes)


# --- what every store promises -------------------------------------------------------------------


@pytest.mark.parametrize("principal", [ADA, Principal(), Principal("", "ünïcode 😀", "'\"; --")])
@pytest.mark.parametrize("status", list(TaskStatus))
def test_a_record_is_read_as_it_was_created(
    backend: Backend, principal: Principal, status: TaskStatus
) -> None:
    async def scenario(store: TaskStore) -> None:
        wanted = named(
            "a",
            principal=principal,
            status=status,
            message="half way 😀",
            questions=QUESTIONS,
            asked=2,
            outcome_json='{"é":1}',
        )
        assert await create(store, wanted)
        assert await store.get(TaskId("a"), NOW) == wanted

    run(backend, scenario)


def test_what_was_never_created_is_none(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a"))
        for other in ("b", "", "A", "a ", "a' OR '1'='1"):
            assert await store.get(TaskId(other), NOW) is None

    run(backend, scenario)


def test_a_record_is_there_until_its_time_is_over(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a", expires_millis=NOW + 10))
        assert await store.get(TaskId("a"), NOW + 9) is not None
        assert await store.get(TaskId("a"), NOW + 10) is None

    run(backend, scenario)


def test_a_change_is_written_and_counted(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a"))
        wanted = named(
            "a",
            status=TaskStatus.FAILED,
            message="broke",
            questions=QUESTIONS,
            asked=2,
            outcome_json="{}",
            updated_millis=NOW + 5,
        )
        assert await store.replace(wanted)
        assert await store.get(TaskId("a"), NOW) == dataclasses.replace(wanted, version=2)

    run(backend, scenario)


def test_of_two_changes_of_the_same_version_one_is_written(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a"))
        written = await asyncio.gather(
            *(store.replace(named("a", message=f"number {number}")) for number in range(8))
        )
        assert sorted(written) == [False] * 7 + [True]
        record = await store.get(TaskId("a"), NOW)
        assert record is not None
        assert (record.version, record.message) == (2, f"number {written.index(True)}")

    run(backend, scenario)


def test_a_change_of_what_is_gone_is_not_written(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert not await store.replace(named("a"))
        assert await store.get(TaskId("a"), NOW) is None

    run(backend, scenario)


def test_each_principal_has_its_own_room(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        for number in range(3):
            assert await create(store, named(f"ada-{number}"), max_unfinished=3)
        assert not await create(store, named("ada-3"), max_unfinished=3)
        assert await store.get(TaskId("ada-3"), NOW) is None
        assert await create(store, named("bob-0", principal=BOB), max_unfinished=3)

    run(backend, scenario)


def test_what_has_ended_takes_room_on_record_only(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a", status=TaskStatus.COMPLETED))
        assert await create(store, named("b"), max_unfinished=1, max_kept=2)
        assert not await create(store, named("c"), max_unfinished=3, max_kept=2)

    run(backend, scenario)


def test_what_has_expired_takes_no_room(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a", expires_millis=NOW))
        assert await create(store, named("b"), max_unfinished=1, max_kept=1)

    run(backend, scenario)


def test_room_for_one_more_is_given_once(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        async with backend.open() as other:
            stores = [store, other] * 4
            made = await asyncio.gather(
                *(
                    create(each, named(f"task-{number}"), max_unfinished=3)
                    for number, each in enumerate(stores)
                )
            )
        assert sorted(made) == [False] * 5 + [True] * 3

    run(backend, scenario)


def test_the_unfinished_tasks_of_a_process_are_found(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        other = RunnerId("runner-2")
        assert await create(store, named("a"))
        assert await create(store, named("b", status=TaskStatus.INPUT_REQUIRED))
        assert await create(store, named("c", status=TaskStatus.CANCELLED))
        assert await create(store, named("d", runner=other))
        assert await store.replace(named("b", status=TaskStatus.WORKING))
        assert await store.unfinished(RECORD.runner) == {TaskId("a"): 1, TaskId("b"): 2}
        assert await store.unfinished(other) == {TaskId("d"): 1}
        assert await store.unfinished(RunnerId("nobody")) == {}

    run(backend, scenario)


def test_a_lease_is_held_renewed_and_ended(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        runner = RECORD.runner
        assert await store.lease_until(runner) is None
        await store.hold_lease(runner, NOW)
        await store.hold_lease(runner, NOW + 10)
        assert await store.lease_until(runner) == NOW + 10
        await store.end_lease(runner)
        await store.end_lease(runner)
        assert await store.lease_until(runner) is None

    run(backend, scenario)


def test_all_of_it_is_there_after_a_restart(backend: Backend) -> None:
    async def main() -> None:
        async with backend.open() as store:
            assert await create(store, RECORD)
            await store.hold_lease(RECORD.runner, NOW)
        async with backend.open() as store:
            assert await store.get(RECORD.task_id, NOW) == RECORD
            assert await store.lease_until(RECORD.runner) == NOW

    asyncio.run(main())


def test_a_record_of_a_newer_version_is_refused(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, RECORD)
        backend.age(RECORD.task_id)
        with pytest.raises(RecordTooNewError):
            await store.get(RECORD.task_id, NOW)

    run(backend, scenario)


ASKS: dict[str, Callable[[TaskStore], Coroutine[Any, Any, object]]] = {
    "create": lambda store: create(store, RECORD),
    "get": lambda store: store.get(RECORD.task_id, NOW),
    "replace": lambda store: store.replace(RECORD),
    "unfinished": lambda store: store.unfinished(RECORD.runner),
    "hold_lease": lambda store: store.hold_lease(RECORD.runner, NOW),
    "lease_until": lambda store: store.lease_until(RECORD.runner),
    "end_lease": lambda store: store.end_lease(RECORD.runner),
}


@pytest.mark.parametrize("ask", ASKS)
def test_a_store_that_fails_says_so(backend: Backend, ask: str) -> None:
    async def scenario(store: TaskStore) -> None:
        backend.take_away()
        with pytest.raises(StoreUnavailableError):
            await ASKS[ask](store)

    run(backend, scenario)


# --- SQLite --------------------------------------------------------------------------------------


def test_creating_a_task_removes_what_has_expired(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path)

    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("old", expires_millis=NOW + 1, runner=RunnerId("gone")))
        await store.hold_lease(RunnerId("gone"), NOW + 1)
        assert await create(store, named("new", created_millis=NOW + 1))

    run(backend, scenario)
    connection = sqlite3.connect(backend.path)
    try:
        assert connection.execute("SELECT task_id FROM tasks").fetchall() == [("new",)]
        assert connection.execute("SELECT COUNT(*) FROM task_runners").fetchone() == (0,)
    finally:
        connection.close()
