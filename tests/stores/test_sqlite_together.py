"""Units of work that gathered while SQLite was busy: one transaction, and each as if it were alone."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing

import pytest
from tests.stores.backends import SqliteBackend

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store import sqlite_line
from linkspan_session.store.database import SqliteDatabase

Scenario = Callable[[SqliteDatabase, list[str]], Awaitable[None]]


def run(sqlite: SqliteBackend, scenario: Scenario) -> None:
    """Run a scenario with an open file and the list of the statements that write to it."""

    async def main() -> None:
        file = await SqliteDatabase.open(sqlite.path)
        statements: list[str] = []
        await file.write(lambda connection: connection.execute("CREATE TABLE t (n PRIMARY KEY)"))
        await file.write(lambda connection: connection.set_trace_callback(statements.append))
        statements.clear()
        try:
            await scenario(file, statements)
        finally:
            await file.close()

    asyncio.run(main())


async def together(
    file: SqliteDatabase, units: list[Callable[[sqlite3.Connection], object]]
) -> list[object]:
    """Run units that have all gathered before the first of them begins."""
    begun, go_on = threading.Event(), threading.Event()

    def hold_up(_: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(20)

    first = asyncio.create_task(file.write(hold_up))
    assert await asyncio.to_thread(begun.wait, 20)
    waiting = [asyncio.create_task(file.write(unit)) for unit in units]
    await asyncio.sleep(0)
    go_on.set()
    await first
    return await asyncio.gather(*waiting, return_exceptions=True)


def insert(number: int) -> Callable[[sqlite3.Connection], object]:
    def unit(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO t VALUES (?)", (number,))
        rows: list[tuple[int]] = connection.execute("SELECT count(*) FROM t").fetchall()
        return rows[0][0]

    return unit


def kept(sqlite: SqliteBackend) -> list[int]:
    """Return what another process would find in the file."""
    with closing(sqlite3.connect(sqlite.path)) as other:
        return [row[0] for row in other.execute("SELECT n FROM t ORDER BY n")]


def test_what_has_gathered_is_committed_once_and_in_order(sqlite: SqliteBackend) -> None:
    async def scenario(file: SqliteDatabase, statements: list[str]) -> None:
        assert await together(file, [insert(n) for n in range(5)]) == [1, 2, 3, 4, 5]
        assert statements.count("COMMIT") == 2  # with the one that held them up
        assert kept(sqlite) == [0, 1, 2, 3, 4]

    run(sqlite, scenario)


def test_a_transaction_has_an_end_however_many_have_gathered(sqlite: SqliteBackend) -> None:
    async def scenario(file: SqliteDatabase, statements: list[str]) -> None:
        answers = await together(file, [insert(n) for n in range(130)])
        assert answers == list(range(1, 131))
        assert statements.count("COMMIT") == 1 + 3

    run(sqlite, scenario)


def test_what_one_raises_undoes_what_it_did_and_no_more(sqlite: SqliteBackend) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t VALUES (7)")
        raise ValueError("on purpose")

    async def scenario(file: SqliteDatabase, _: list[str]) -> None:
        units = [insert(1), fails, insert(1), insert(2)]
        first, failed, again, last = await together(file, units)
        assert (first, last) == (1, 2)
        assert isinstance(failed, ValueError)
        assert isinstance(again, StoreUnavailableError)
        assert kept(sqlite) == [1, 2]

    run(sqlite, scenario)


def test_if_sqlite_undoes_all_all_are_told(sqlite: SqliteBackend) -> None:
    def undone(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT OR ROLLBACK INTO t VALUES (1)")

    async def scenario(file: SqliteDatabase, _: list[str]) -> None:
        answers = await together(file, [insert(1), undone, insert(2)])
        assert [type(each) for each in answers] == [StoreUnavailableError] * 3
        assert kept(sqlite) == []
        assert await file.write(insert(3)) == 1

    run(sqlite, scenario)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_caller_that_has_gone_changes_nothing_for_the_others(
    sqlite: SqliteBackend, gone: int
) -> None:
    async def scenario(file: SqliteDatabase, _: list[str]) -> None:
        begun, go_on = threading.Event(), threading.Event()

        def hold_up(_: sqlite3.Connection) -> object:
            begun.set()
            return go_on.wait(20)

        tasks: list[asyncio.Task[object]] = [asyncio.create_task(file.write(hold_up))]
        assert await asyncio.to_thread(begun.wait, 20)
        tasks += [asyncio.create_task(file.write(insert(n))) for n in range(3)]
        await asyncio.sleep(0)
        tasks[gone + 1].cancel()
        await asyncio.sleep(0)
        go_on.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers.pop(gone + 1), asyncio.CancelledError)
        assert answers == [True, 1, 2]
        assert kept(sqlite) == [n for n in range(3) if n != gone]

    run(sqlite, scenario)


def test_what_one_saw_of_others_is_no_answer_if_none_of_it_is_committed(
    sqlite: SqliteBackend,
) -> None:
    def finds_it_taken(connection: sqlite3.Connection) -> None:
        if connection.execute("SELECT 1 FROM t WHERE n = 1").fetchone() is not None:
            raise ValueError("somebody else has it")

    def makes_the_commit_fail(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE p (n PRIMARY KEY)")
        connection.execute("CREATE TABLE c (n REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
        connection.execute("INSERT INTO c VALUES (1)")

    async def scenario(file: SqliteDatabase, _: list[str]) -> None:
        answers = await together(file, [insert(1), finds_it_taken, makes_the_commit_fail])
        assert [type(each) for each in answers] == [StoreUnavailableError] * 3
        assert kept(sqlite) == []

    run(sqlite, scenario)


def test_units_that_take_long_are_not_all_one_transaction(
    sqlite: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_line, "_TOGETHER_SECONDS", 0.0)

    async def scenario(file: SqliteDatabase, statements: list[str]) -> None:
        assert await together(file, [insert(n) for n in range(4)]) == [1, 2, 3, 4]
        assert statements.count("COMMIT") == 1 + 4

    run(sqlite, scenario)
