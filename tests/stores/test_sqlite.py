"""What only the SQLite store has: a file, its other users, full disks, a clock of its own."""

import asyncio
import dataclasses
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import IO

import pytest
from tests.requirements import requirement
from tests.stores.backends import SqliteBackend
from tests.stores.scenarios import (
    CONTENT,
    HERE,
    THERE,
    create,
    event,
    everything,
    record,
    run,
    seen,
    stream,
)
from tests.support.processes import REPOSITORY
from tests.support.tasks import RECORD
from tests.support.waiting import PATIENCE_SECONDS

from linkspan_session.errors import StoreUnavailableError, TooManySessionsError
from linkspan_session.store import (
    Changes,
    Closed,
    EventRecord,
    NodeId,
    NodeLoad,
    SessionId,
    Store,
    database,
)
from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES, MAX_FINISHED_STREAMS
from linkspan_session.store.sqlite import SqliteStore
from linkspan_session.store.sqlite_nodes import MachineClock
from linkspan_session.store.tasks import TaskId

# --- the file ------------------------------------------------------------------------------------


def test_nobody_else_can_read_the_file(sqlite: SqliteBackend) -> None:
    async def scenario(store: Store) -> None:
        await create(store)
        files = sorted(sqlite.path.parent.iterdir())
        assert [each.name for each in files] == [
            "sessions.db",
            "sessions.db-shm",
            "sessions.db-wal",
        ]
        assert {each.stat().st_mode & 0o777 for each in files} == {0o600}
        assert sqlite.path.parent.stat().st_mode & 0o777 == 0o700

    run(sqlite, scenario)


# --- several users of one file -------------------------------------------------------------------


@pytest.mark.parametrize("layout", [0, 3])
def test_a_file_may_be_opened_by_several_at_once(sqlite: SqliteBackend, layout: int) -> None:
    async def main() -> None:
        stores = await asyncio.gather(*(sqlite.open() for _ in range(20)))
        try:
            for number, store in enumerate(stores):
                await create(store, f"new-{number}")
            for store in stores:
                assert len(await store.sessions.list_page(None, 100)) == 20 + layout
        finally:
            for store in stores:
                await store.close()

    if layout:
        sqlite.put_layout(layout)
    asyncio.run(main())


def test_opening_a_file_waits_for_who_is_opening_it_as_well(sqlite: SqliteBackend) -> None:
    sqlite.put_layout(3)  # which is not in write-ahead mode yet

    async def main() -> None:
        with sqlite.another_writer() as other:
            opening = asyncio.create_task(sqlite.open())
            await asyncio.wait([opening], timeout=0.05)
            assert not opening.done()
            other.execute("COMMIT")
            await (await opening).close()

    asyncio.run(main())


@contextmanager
def child(*arguments: str) -> Generator["subprocess.Popen[str]"]:
    """Run `sqlite_child`, and kill it with the block."""
    command = [sys.executable, "-m", "tests.stores.sqlite_child", *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def output_of(process: "subprocess.Popen[str]") -> IO[str]:
    assert process.stdout is not None
    return process.stdout


async def check_what_is_there(store: Store, name: str, acknowledged: int) -> None:
    """Check that all of a child's commits are there, as a whole, and perhaps one it said not."""
    there = await store.sessions.read_events(SessionId(name), "s", after=0)
    assert acknowledged <= len(there) <= acknowledged + 1
    assert there == [(each, f"{name} {each}".encode()) for each in range(1, len(there) + 1)]
    assert (await seen(store, name)).version == 2 + len(there)
    storage = await store.sessions.read_storage(SessionId(name))
    assert storage == {"last": str(len(there)).encode()}
    size = sum(len(message) for _, message in there) + len(storage["last"])
    assert await store.sessions.stored_bytes((SessionId(name),)) == {SessionId(name): size}


def test_processes_that_share_a_file_lose_nothing_of_each_other(sqlite: SqliteBackend) -> None:
    names, count = ("one", "two", "three"), 200
    with (
        child("commit", str(sqlite.path), names[0], str(count)) as one,
        child("commit", str(sqlite.path), names[1], str(count)) as two,
        child("commit", str(sqlite.path), names[2], str(count)) as three,
    ):
        for process in (one, two, three):
            numbers = [line for line in output_of(process) if line != "busy\n"]
            assert numbers == [f"{each}\n" for each in range(1, count + 1)]
            assert process.wait(timeout=PATIENCE_SECONDS) == 0

    async def scenario(store: Store) -> None:
        for name in names:
            await check_what_is_there(store, name, count)
        with pytest.raises(TooManySessionsError):
            await store.sessions.create(record("new"), max_of_principal=len(names))

    run(sqlite, scenario)


def test_what_a_process_acknowledged_before_it_was_killed_is_there(sqlite: SqliteBackend) -> None:
    acknowledged = 0
    with child("commit", str(sqlite.path), "a", "1000000") as process:
        for line in output_of(process):
            acknowledged = int(line)
            if acknowledged == 200:
                process.kill()  # and goes on reading what it said until then

    async def scenario(store: Store) -> None:
        await check_what_is_there(store, "a", acknowledged)
        assert await store.sessions.claim(SessionId("a"), THERE, seen_epoch=1) is not None

    run(sqlite, scenario)


# --- when the disk fails -------------------------------------------------------------------------


def test_serving_goes_on_after_the_files_could_not_grow(sqlite: SqliteBackend) -> None:
    with child("full", str(sqlite.path)) as process:
        assert list(output_of(process)) == ["went on\n"]
        assert process.wait(timeout=PATIENCE_SECONDS) == 0


@requirement("store.disk-full")
def test_serving_goes_on_after_the_disk_was_full(
    sqlite: SqliteBackend, caplog: pytest.LogCaptureFixture
) -> None:
    large = Changes(storage={"large": b"x" * 100_000})

    async def main() -> None:
        file = await database.SqliteDatabase.open(sqlite.path)
        store = SqliteStore(file, MachineClock.of_this_machine(), DEFAULT_MAX_LOG_BYTES)

        async def limit(pages: int) -> None:
            await file.write(
                lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}")
            )

        ownership = await create(store)
        await store.sessions.commit(ownership, CONTENT)
        before = await everything(store)
        await limit(1)  # which makes it as many as there are
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await store.sessions.commit(ownership, large)
        assert "database or disk is full" in caplog.text
        assert await everything(store) == before
        await limit(1_000_000)
        assert await everything(store) == before
        assert await store.sessions.commit(ownership, large) == 3
        await store.close()

    asyncio.run(main())


# --- our own mistakes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "events",
    [
        (event("s", 1),),
        (event("s", 3),),
        (event("s", 2), event("s", 2)),
        (event("none", 1),),
        (event("s", 2, last=True), event("s", 3)),
    ],
)
def test_an_event_that_does_not_follow_is_a_mistake_and_changes_nothing(
    sqlite: SqliteBackend, events: tuple[EventRecord, ...]
) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        await store.sessions.commit(ownership, CONTENT)
        before = await everything(store)
        changes = Changes(streams=(stream("t"),), events=events, storage={"x": b"x"})
        with pytest.raises(ValueError, match="does not follow in its stream"):
            await store.sessions.commit(ownership, changes)
        assert await everything(store) == before
        assert await store.sessions.commit(ownership, Changes(events=(event("s", 2),))) == 3

    run(sqlite, scenario)


def test_a_stream_that_is_added_finished_counts_as_one(sqlite: SqliteBackend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        streams = [
            stream(str(each), created_millis=each, finished=True, last_sequence=1, first_sequence=2)
            for each in range(MAX_FINISHED_STREAMS + 1)
        ]
        await store.sessions.commit(ownership, Changes(streams=tuple(streams)))
        there = [
            await store.sessions.get_stream(SessionId("a"), each.stream_id) for each in streams
        ]
        assert there == [None, *streams[1:]]

    run(sqlite, scenario)


def test_an_end_that_would_stay_for_ever_is_a_mistake(sqlite: SqliteBackend) -> None:
    async def scenario(store: Store) -> None:
        ownership = await create(store)
        with pytest.raises(ValueError, match="needs expires_millis"):
            await store.sessions.commit(ownership, Changes(closed=Closed.ENDED))
        assert await seen(store) == record("a")

    run(sqlite, scenario)


# --- leases and the machine's clock --------------------------------------------------------------


class Machine:
    """A machine whose clock stands still until it is turned, and that can be started anew."""

    def __init__(self, boot_id: str) -> None:
        self.boot_id = boot_id
        self.seconds = 1000.0

    @property
    def clock(self) -> MachineClock:
        return MachineClock(self.boot_id, lambda: round(self.seconds * 1_000_000_000))


async def alive(sqlite: SqliteBackend, machine: Machine) -> bool:
    """Ask a process that starts now whether the owner of a session is alive, in every way."""
    store = await SqliteStore.open(sqlite.path, clock=machine.clock)
    try:
        found = await store.sessions.get(SessionId("a"))
        assert found is not None
        page = await store.sessions.list_page(None, 1)
        told = {found.owner_alive, page[0].owner_alive, await store.nodes.is_alive(HERE)}
        (answer,) = told
        return answer
    finally:
        await store.close()


async def hold_ten_seconds(sqlite: SqliteBackend, machine: Machine) -> None:
    store = await SqliteStore.open(sqlite.path, clock=machine.clock)
    try:
        await store.sessions.create(record("a"), max_of_principal=1)
        await store.nodes.hold(HERE, lease_seconds=10, live_sessions=1)
    finally:
        await store.close()


def test_a_lease_lasts_as_long_as_it_says_by_the_machines_clock(sqlite: SqliteBackend) -> None:
    async def main() -> None:
        machine = Machine("boot")
        await hold_ten_seconds(sqlite, machine)
        for seconds, held in ((1000, True), (1009.999, True), (1010, False), (5000, False)):
            machine.seconds = seconds
            assert await alive(sqlite, machine) is held

    asyncio.run(main())


@requirement("session.clocks")
@pytest.mark.parametrize("seconds", [1, 999.9, 1000, 1005, 5000])
def test_a_lease_of_another_boot_is_over(sqlite: SqliteBackend, seconds: float) -> None:
    async def main() -> None:
        machine = Machine("boot")
        await hold_ten_seconds(sqlite, machine)
        machine.boot_id, machine.seconds = "another", seconds
        assert not await alive(sqlite, machine)

    asyncio.run(main())


@pytest.mark.parametrize("seconds", [1, 999.9, 1010])
def test_where_boots_have_no_id_a_lease_of_another_is_over_too(
    sqlite: SqliteBackend, seconds: float
) -> None:
    async def main() -> None:
        machine = Machine("")
        await hold_ten_seconds(sqlite, machine)
        assert await alive(sqlite, machine)
        machine.seconds = seconds
        assert not await alive(sqlite, machine)

    asyncio.run(main())


def test_holding_a_lease_removes_those_that_are_over(sqlite: SqliteBackend) -> None:
    async def main() -> None:
        machine = Machine("before")
        await hold_ten_seconds(sqlite, machine)
        machine.boot_id = "after"
        store = await SqliteStore.open(sqlite.path, clock=machine.clock)
        for name, seconds in (("short", 1.0), ("long", 10.0)):
            await store.nodes.hold(NodeId(name), lease_seconds=seconds, live_sessions=0)
        machine.seconds += 5
        held = await store.nodes.hold(THERE, lease_seconds=10, live_sessions=2)
        assert set(held) == {NodeLoad(NodeId("long"), 0), NodeLoad(THERE, 2)}
        await store.close()

    asyncio.run(main())
    assert set(sqlite.execute("SELECT node FROM nodes")) == {("long",), (THERE,)}


def test_this_machine_says_which_boot_it_is() -> None:
    first, second = (MachineClock.of_this_machine() for _ in range(2))
    assert first == second
    if sys.platform == "linux":
        assert re.fullmatch(r"[0-9a-f-]{36}", first.boot_id)


# --- tasks ---------------------------------------------------------------------------------------


def test_creating_a_task_removes_what_has_expired(sqlite: SqliteBackend) -> None:
    async def scenario(store: Store) -> None:
        over = RECORD.created_millis + 1
        old = dataclasses.replace(RECORD, task_id=TaskId("old"), expires_millis=over)
        new = dataclasses.replace(RECORD, task_id=TaskId("new"), created_millis=over)
        for each in (old, new):
            assert await store.tasks.create(each, max_unfinished=9, max_kept=9)

    run(sqlite, scenario)
    assert sqlite.execute("SELECT task_id FROM tasks") == [("new",)]
