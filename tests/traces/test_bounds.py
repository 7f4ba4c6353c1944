"""What is kept is bounded, and who sends too much is told to come again or what was lost."""

import asyncio
import gzip
import http.client
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.requirements import requirement
from tests.traces.backend import PROTOBUF, export, new_id, running_backend, span

from linkspan_traces.errors import BusyError, StoreError
from linkspan_traces.intake import Intake, Limits
from linkspan_traces.live import Live
from linkspan_traces.otlp.decode import decode_protobuf
from linkspan_traces.store.database import Database
from linkspan_traces.store.filters import Search
from linkspan_traces.store.reading import list_traces

LIMITS = Limits(
    max_bytes=1 << 30, max_age_seconds=1e6, max_trace_spans=1000, max_backlog_bytes=1 << 20
)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def with_intake(
    path: Path, limits: Limits, scenario: Callable[[Intake, Database, Clock], Awaitable[None]]
) -> None:
    async def main() -> None:
        database = await Database.open(path)
        clock = Clock()
        intake = Intake(database, Live(), limits, wall_clock=clock)
        writing = asyncio.create_task(intake.run())
        try:
            async with asyncio.timeout(30):
                await scenario(intake, database, clock)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await database.close()

    asyncio.run(main())


async def ids(database: Database) -> list[str]:
    page = await database.read(lambda db: list_traces(db, Search(limit=500)))
    return [trace.trace_id for trace in page.traces]


def body_of(trace: bytes, count: int = 1, text: str = "") -> bytes:
    return export(*(span(trace, start=i, text=text) for i in range(count))).SerializeToString()


@requirement("traces.bounds")
def test_the_oldest_traces_go_when_the_file_is_full(tmp_path: Path) -> None:
    max_bytes = 1 << 20
    limits = Limits(max_bytes, 1e6, 1000, 1 << 24)
    sent = [new_id(16) for _ in range(60)]

    async def scenario(intake: Intake, database: Database, clock: Clock) -> None:
        for trace in sent:
            clock.now += 1
            await intake.take(body_of(trace, text="x" * 50_000), decode_protobuf)
        left = await ids(database)
        newest_first = [trace.hex() for trace in reversed(sent)]
        assert 5 < len(left) < 30
        assert sorted(left) == sorted(newest_first[: len(left)])

    with_intake(tmp_path / "traces.db", limits, scenario)
    assert (tmp_path / "traces.db").stat().st_size < 2 * max_bytes
    with sqlite3.connect(tmp_path / "traces.db") as connection:
        rows = connection.execute(
            "SELECT (SELECT count(*) FROM spans), (SELECT count(*) FROM traces), "
            "(SELECT count(DISTINCT trace_id) FROM facets), (SELECT count(*) FROM resources)"
        )
        spans, traces, faceted, resources = rows.fetchone()
    connection.close()
    assert (spans, faceted, resources) == (traces, traces, 1)


@requirement("traces.bounds")
def test_a_trace_goes_when_its_last_span_is_too_old(tmp_path: Path) -> None:
    old, kept, new = (new_id(16) for _ in range(3))

    async def scenario(intake: Intake, database: Database, clock: Clock) -> None:
        await intake.take(body_of(old), decode_protobuf)
        await intake.take(body_of(kept), decode_protobuf)
        clock.now += 60
        await intake.take(body_of(kept), decode_protobuf)
        clock.now += 60
        await intake.take(body_of(new), decode_protobuf)
        assert sorted(await ids(database)) == sorted([kept.hex(), new.hex()])

    with_intake(tmp_path / "traces.db", Limits(1 << 30, 100, 1000, 1 << 20), scenario)


@requirement("traces.bounds")
def test_spans_past_the_bound_of_a_trace_are_refused_and_counted(tmp_path: Path) -> None:
    trace = new_id(16)

    async def scenario(intake: Intake, database: Database, clock: Clock) -> None:
        first = body_of(trace, 8)
        assert (await intake.take(first, decode_protobuf)).rejected == 0
        taken = await intake.take(body_of(trace, 5), decode_protobuf)
        assert (taken.rejected, taken.reason) == (3, "a trace has more than 10 spans")
        # What is there already may come again, as after an answer that got lost.
        assert (await intake.take(first, decode_protobuf)).rejected == 0
        assert intake.rejected_spans == 3

    with_intake(tmp_path / "traces.db", Limits(1 << 30, 1e6, 10, 1 << 20), scenario)


@requirement("traces.busy")
def test_a_full_backlog_refuses_and_has_room_again(tmp_path: Path) -> None:
    async def scenario(intake: Intake, database: Database, clock: Clock) -> None:
        with intake.room() as room:
            room.grow(1 << 20)
            with intake.room() as other, pytest.raises(BusyError):
                other.grow(1)
        with intake.room() as room:
            room.grow(1 << 20)
        assert intake.refused_requests == 1

    with_intake(tmp_path / "traces.db", LIMITS, scenario)


@requirement("traces.busy")
def test_a_store_that_fails_fails_its_requests_and_not_the_next(tmp_path: Path) -> None:
    path = tmp_path / "traces.db"

    async def scenario(intake: Intake, database: Database, clock: Clock) -> None:
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError):
                await intake.take(body_of(new_id(16)), decode_protobuf)
            other.execute("ROLLBACK")
        other.close()
        assert (await intake.take(body_of(new_id(16)), decode_protobuf)).rejected == 0
        assert len(await ids(database)) == 1

    with_intake(path, LIMITS, scenario)


def test_requests_that_wait_together_are_answered_each_for_itself(tmp_path: Path) -> None:
    async def scenario(intake: Intake, database: Database, clock: Clock) -> None:
        bodies = [body_of(new_id(16), count) for count in range(1, 30)]
        taken = await asyncio.gather(*(intake.take(body, decode_protobuf) for body in bodies))
        assert [each.rejected for each in taken] == [max(0, count - 10) for count in range(1, 30)]

    with_intake(tmp_path / "traces.db", Limits(1 << 30, 1e6, 10, 1 << 20), scenario)


def test_requests_that_are_too_large_or_too_many_are_refused(tmp_path: Path) -> None:
    arguments = ("--max-request", "64k", "--max-backlog", "48k")
    headers = {"content-type": PROTOBUF}
    with running_backend(tmp_path, *arguments) as backend:
        large = backend.ask("POST", "/v1/traces", b"x" * (1 << 17), headers)
        assert large.status == 413
        bomb = gzip.compress(bytes(1 << 20))
        packed = backend.ask("POST", "/v1/traces", bomb, {**headers, "content-encoding": "gzip"})
        assert packed.status == 413
        busy = backend.ask("POST", "/v1/traces", b"x" * 50_000, headers)
        assert (busy.status, busy.headers["retry-after"]) == (503, "1")
        assert backend.send(span(new_id(16))).status == 200
        assert backend.get("status")["refused_requests"] == 1


@requirement("traces.durable")
def test_traces_survive_a_kill_once_they_were_answered(tmp_path: Path) -> None:
    trace = new_id(16)
    with running_backend(tmp_path) as backend:
        assert backend.send(span(trace)).status == 200
        backend.process.kill()
    with running_backend(tmp_path) as backend:
        assert backend.ids() == [trace.hex()]


def test_it_ends_cleanly_while_somebody_watches(tmp_path: Path) -> None:
    with running_backend(tmp_path) as backend:
        connection = http.client.HTTPConnection(urlsplit(backend.url).netloc, timeout=20)
        connection.request("GET", "/api/tail")
        response = connection.getresponse()
        assert response.readline() == b": alive\n"
        assert backend.process.stop() == 0
        assert response.read() == b"\n"  # a whole answer: nothing was cut
        connection.close()
    assert not (tmp_path / "traces.url").exists()
