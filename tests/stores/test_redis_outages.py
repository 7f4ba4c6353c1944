"""A server of the store in Redis that is away, hung or restarted, or whose answers are lost."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.stores.redis_backends import load_scripts, run, serves, warnings_of
from tests.stores.scenarios import (
    CONTENT,
    THERE,
    create,
    event,
    record,
    seen,
    stream,
    until,
    writer,
)
from tests.support.tasks import RECORD
from tests.support.valkey import ValkeyServer, running_valkey
from tests.support.waiting import BUSY_SECONDS

from linkspan_session.errors import NotOwnerError, StoreUnavailableError
from linkspan_session.store import Changes, Ownership, SessionId
from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES
from linkspan_session.store.redis import RedisStore
from linkspan_session.store.redis_link import CALL_SECONDS
from linkspan_session.store.tasks import TaskId

A = SessionId("a")
LATE_SECONDS = CALL_SECONDS + BUSY_SECONDS
"""How long what is bounded by `CALL_SECONDS` may take on a machine that is busy."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with running_valkey(tmp_path) as running:
        yield running


def passed(count: Callable[[], int], mark: int) -> Callable[[], Coroutine[Any, Any, bool]]:
    async def condition() -> bool:
        return count() >= mark

    return condition


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
    commits = 0

    async def write(store: RedisStore, name: str, done: asyncio.Event) -> None:
        """Append to a stream as a server does that owns a session, whatever happens."""
        ownership = await create(store, name)
        await store.sessions.commit(ownership, Changes(streams=(stream("s", name),)))
        nonlocal commits
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
            commits += 1
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
                await until(passed(lambda: commits, commits + 200), "commits")
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                await until(lambda: serves(store), "the server")
            await until(passed(lambda: commits, commits + 200), "commits")
            done.set()

    run(server.url, scenario)


def test_a_call_that_is_cancelled_leaves_its_answer_to_nobody(server: ValkeyServer) -> None:
    async def scenario(store: RedisStore) -> None:
        await create(store, "a")
        await create(store, "b")
        server.hang()
        cancelled = asyncio.create_task(store.sessions.get(A))
        await asyncio.wait([cancelled], timeout=0.1)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()
        server.go_on()
        assert await seen(store, "b") == record("b")

    run(server.url, scenario)


# --- connections that break ----------------------------------------------------------------------


@dataclass(slots=True)
class Losing:
    """A way to the server.

    Attributes:
        url: Where it begins.
        answers_until: The how manieth answer from now on is lost.
    """

    url: str = ""
    answers_until: int = 0


@asynccontextmanager
async def losing_answers(server: ValkeyServer) -> AsyncGenerator[Losing]:
    """Run a way to the server that can cut a connection in place of an answer."""
    losing = Losing()
    cut: list[asyncio.Event] = []

    async def carry(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, *, back: bool
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                losing.answers_until -= back
                if back and losing.answers_until == 0:
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
        losing.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield losing
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
        lambda store: store.tasks.create(
            replace(RECORD, task_id=TaskId("new")), max_unfinished=2, max_kept=2
        ),
        True,
    ),
    "tasks.replace": (lambda store: store.tasks.replace(RECORD), True),
}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *((name, 1) for name in WRITES),
        *(("create", number) for number in (2, 3, 4)),
        *(("tasks.create", number) for number in (2, 3)),
    ],
)
def test_a_write_whose_answer_is_lost_is_done_once(
    server: ValkeyServer, name: str, number: int
) -> None:
    write, expected = WRITES[name]
    load_scripts(server)

    async def main() -> None:
        async with asyncio.timeout(40), losing_answers(server) as way:
            store = RedisStore.connect(way.url, max_log_bytes=DEFAULT_MAX_LOG_BYTES)
            await create(store)
            assert await store.tasks.create(RECORD, max_unfinished=1, max_kept=1)
            way.answers_until = number
            assert await write(store) == expected
            assert way.answers_until <= 0
            await store.close()

    asyncio.run(main())


def test_connections_that_are_cut_are_not_noticed(server: ValkeyServer) -> None:
    commits = 0

    async def write(store: RedisStore, ownership: Ownership) -> None:
        nonlocal commits
        for version in range(2, 200):
            assert await store.sessions.commit(ownership, Changes(storage={"x": b""})) == version
            commits += 1

    async def scenario(store: RedisStore) -> None:
        owned = [await create(store, str(number)) for number in range(16)]
        async with asyncio.TaskGroup() as group:
            for each in owned:
                group.create_task(write(store, each))
            for cut in range(5):
                await until(passed(lambda: commits, 500 * cut + 100), "commits")
                await asyncio.to_thread(server.ask, "CLIENT", "KILL", "TYPE", "normal")

    run(server.url, scenario)


def test_scripts_that_the_server_forgets_are_sent_again(server: ValkeyServer) -> None:
    async def scenario(store: RedisStore) -> None:
        ownership = await create(store)
        for version in range(2, 5):
            server.ask("SCRIPT", "FLUSH")
            assert await store.sessions.commit(ownership, Changes()) == version

    run(server.url, scenario)
