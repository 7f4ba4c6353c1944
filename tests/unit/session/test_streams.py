"""Streams on record: numbers that are never given out twice, and readers that come and go."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.unit.session.exchanges import read_all

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_session.answer_streams import BatchStream
from linkspan_session.answers import CANCELLED, Result
from linkspan_session.errors import (
    EventUnknownError,
    SessionMovedError,
    StoreUnavailableError,
)
from linkspan_session.events import answer_event, notification_event
from linkspan_session.exchange import Exchange
from linkspan_session.journal import Journal
from linkspan_session.store import (
    Changes,
    NodeId,
    Ownership,
    Principal,
    SessionId,
    SessionRecord,
    SessionStore,
    StreamRecord,
)
from linkspan_session.store.sqlite import SqliteStore
from linkspan_session.stream_ids import call_stream_record, parse_event_id
from linkspan_session.streams import EventStream, Resumption

SESSION = SessionId("s")
OWNER = NodeId("127.0.0.1:1#one")
OWNERSHIP = Ownership(SESSION, OWNER, 1)
PRIMED = Resumption(priming=True, retry_millis=1000)


class GatedJournal(Journal):
    """A real journal whose events wait at a gate, so that a test decides what comes in between."""

    def __init__(self, store: SessionStore, ownership: Ownership = OWNERSHIP) -> None:
        self.lost: list[str] = []
        super().__init__(store, ownership, lambda: self.lost.append("lost"))
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()

    async def commit(self, changes: Changes) -> None:
        """Wait at the gate if there are events, then commit."""
        if changes.events:
            self.arrived.set()
            await self.gate.wait()
        await super().commit(changes)


class Desk:
    """A journal of one session, and what tests do with a stream."""

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self.log = GatedJournal(store)
        self.record = call_stream_record(SESSION, 1, "key-1", "", 0)

    def stream(self, exchange: Exchange | None = None) -> EventStream:
        return EventStream(self.log, self.record, PRIMED, exchange)

    async def kept(self) -> list[int]:
        events = await self.log.read_events(self.record.stream_id, after=0)
        return [number for number, _ in events]

    async def on_record(self) -> StreamRecord:
        stream = await self.log.get_stream(self.record.stream_id)
        assert stream is not None
        return stream


Scenario = Callable[[Desk], Awaitable[None]]


def run(path: Path, scenario: Scenario) -> None:
    async def main() -> None:
        store = await SqliteStore.open(path / "sessions.db")
        try:
            record = SessionRecord(SESSION, Principal(), None, 0, 0, 2**40, owner=OWNER)
            await store.sessions.create(record, max_of_principal=1)
            async with asyncio.timeout(50):
                await scenario(Desk(store.sessions))
        finally:
            await store.close()

    asyncio.run(main())


def say(number: int) -> HandleRequestResponse:
    return notification_event("notifications/progress", {"progress": number})


def done() -> HandleRequestResponse:
    return answer_event(1, Result({"done": True}))


async def read(exchange: Exchange) -> list[str]:
    """Read a stream to its end: what each event is."""
    return [
        event.message.event_id.rpartition(".")[2] or event.WhichOneof("event") or ""
        for event in await read_all(exchange)
    ]


def test_a_cancelled_send_gives_out_no_number_twice(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        exchange = Exchange()
        stream = desk.stream(exchange)
        await stream.send(say(1))
        desk.log.gate.clear()
        desk.log.arrived.clear()
        sending = asyncio.create_task(stream.send(say(2)))
        await desk.log.arrived.wait()
        sending.cancel()
        await asyncio.sleep(0)
        desk.log.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await stream.send(say(3))
        await stream.finish(done())
        assert await desk.kept() == [1, 2, 3, 4]
        assert (await desk.on_record()).finished
        assert await read(exchange) == ["stream_opened", "1", "2", "3", "4"]

    run(tmp_path, scenario)


def test_of_two_readers_that_come_at_once_one_reads_and_the_other_ends(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        stream = desk.stream()
        await stream.send(say(1))
        readers = [Exchange() for _ in range(4)]
        await asyncio.gather(*(stream.attach(each, after=0) for each in readers))
        assert [reader.open for reader in readers].count(True) == 1
        await stream.finish(done())
        for reader in readers:
            assert (await read(reader))[:2] == ["stream_opened", "1"]

    run(tmp_path, scenario)


def test_a_reader_that_comes_while_the_answer_is_written_gets_it_and_the_end(
    tmp_path: Path,
) -> None:
    async def scenario(desk: Desk) -> None:
        stream = desk.stream()
        await stream.send(say(1))
        desk.log.gate.clear()
        desk.log.arrived.clear()
        finishing = asyncio.create_task(stream.finish(done()))
        await desk.log.arrived.wait()
        reader = Exchange()
        attaching = asyncio.create_task(stream.attach(reader, after=1))
        await asyncio.sleep(0)
        desk.log.gate.set()
        await asyncio.gather(finishing, attaching)
        assert await read(reader) == ["stream_opened", "2"]

    run(tmp_path, scenario)


def test_a_bad_event_id_leaves_the_reader_that_there_is(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        reader = Exchange()
        stream = desk.stream(reader)
        await stream.send(say(1))
        with pytest.raises(EventUnknownError):
            await stream.attach(Exchange(), after=7)
        assert reader.open

    run(tmp_path, scenario)


def test_a_stream_of_a_session_that_goes_takes_no_reader(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        stream = desk.stream()
        await stream.send(say(1))
        stream.forget()
        with pytest.raises(EventUnknownError):
            await stream.attach(Exchange(), after=1)

    run(tmp_path, scenario)


def test_without_a_store_the_answer_still_arrives_and_no_stream_is_closed_on_purpose(
    tmp_path: Path,
) -> None:
    class AwayJournal(GatedJournal):
        async def commit(self, changes: Changes) -> None:  # noqa: ARG002
            raise StoreUnavailableError

    async def scenario(desk: Desk) -> None:
        exchange = Exchange()
        stream = EventStream(AwayJournal(desk.store), desk.record, PRIMED, exchange)
        await stream.close_on_purpose()
        await stream.send(say(1))
        await stream.finish(done())
        assert await read(exchange) == ["stream_opened", "message", "message"]

    run(tmp_path, scenario)


def test_an_answer_that_changed_something_is_on_record_with_it(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        exchange = Exchange()
        await desk.stream(exchange).finish(done(), Changes(storage={"a": b"1"}))
        assert await read(exchange) == ["message"]
        assert await desk.log.read_storage() == {"a": b"1"}
        found = await desk.log.find_stream("key-1")
        assert found is not None
        assert (found.finished, found.last_sequence) == (True, 1)

    run(tmp_path, scenario)


def test_an_answer_that_changed_nothing_costs_no_commit(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        exchange = Exchange()
        await desk.stream(exchange).finish(done())
        assert await read(exchange) == ["message"]
        assert await desk.log.find_stream("key-1") is None

    run(tmp_path, scenario)


def test_changes_that_cannot_be_committed_are_not_answered_for(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        exchange = Exchange()
        stranger = GatedJournal(desk.store, Ownership(SESSION, NodeId("other#1"), 1))
        stream = EventStream(stranger, desk.record, PRIMED, exchange)
        with pytest.raises(SessionMovedError):
            await stream.finish(done(), Changes(storage={"a": b"1"}))
        assert stranger.lost == ["lost"]
        assert await desk.log.read_storage() == {}
        stream.fail(SessionMovedError())
        with pytest.raises(SessionMovedError):
            await read(exchange)

    run(tmp_path, scenario)


def test_who_asks_again_for_what_has_said_nothing_gets_its_answer(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        first, second = Exchange(), Exchange()
        stream = desk.stream(first)
        await stream.attach(second, after=0)
        await stream.finish(done())
        assert await read(first) == []
        assert await read(second) == ["message"]

    run(tmp_path, scenario)


def test_a_batch_ends_with_its_last_answer(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        exchange = Exchange()
        stream = BatchStream(exchange, 2, desk.log)
        await stream.finish(answer_event(1, CANCELLED))
        stream.abort()
        assert exchange.open
        await stream.finish(answer_event(2, CANCELLED))
        stream.abort()
        assert await read(exchange) == ["message", "message"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("text", ["", ".", "a.", ".1", "a.-1", "a.1.", "a.\u0661", "a." + "9" * 16])
def test_what_is_no_event_id_is_unknown(text: str) -> None:
    with pytest.raises(EventUnknownError):
        parse_event_id(text)


def test_a_stream_is_described_when_it_goes_on_record_and_not_before(tmp_path: Path) -> None:
    async def scenario(desk: Desk) -> None:
        described: list[StreamRecord] = []

        def describe() -> StreamRecord:
            described.append(desk.record)
            return desk.record

        exchange = Exchange()
        quick = EventStream(desk.log, describe, PRIMED, exchange)
        await quick.finish(done())
        assert await read(exchange) == ["message"]
        assert described == []
        slow = EventStream(desk.log, describe, PRIMED, Exchange())
        await slow.open()
        await slow.finish(done())
        assert await desk.kept() == [1]
        assert described == [desk.record]

    run(tmp_path, scenario)
