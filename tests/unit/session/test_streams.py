"""Streams on record: numbers that are never given out twice, and readers that come and go."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_session.answers import CANCELLED, Result
from linkspan_session.errors import EventUnknownError, StoreUnavailableError
from linkspan_session.events import answer_event, notification_event
from linkspan_session.exchange import Exchange
from linkspan_session.store import (
    Principal,
    SessionId,
    SessionRecord,
    SqliteDatabase,
    SqliteEventLog,
    SqliteSessionStore,
    StreamRecord,
)
from linkspan_session.streams import (
    BatchStream,
    EventStream,
    Resumption,
    call_stream_record,
    parse_event_id,
)

SESSION = SessionId("s")
PRIMED = Resumption(priming=True, retry_millis=1000)


class GatedLog(SqliteEventLog):
    """A real log whose appends wait at a gate, so that a test decides what comes in between."""

    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__(database)
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()

    async def append(
        self, session_id: SessionId, stream_id: str, sequence: int, message: bytes, *, last: bool
    ) -> None:
        """Wait at the gate, then append."""
        self.arrived.set()
        await self.gate.wait()
        await super().append(session_id, stream_id, sequence, message, last=last)


class Desk:
    """A log with one session in it, and what tests do with a stream."""

    def __init__(self, log: GatedLog) -> None:
        self.log = log
        self.record = call_stream_record(SESSION, 1, "", 0)

    def stream(self, exchange: Exchange | None = None) -> EventStream:
        return EventStream(self.log, self.record, PRIMED, exchange)

    async def kept(self) -> list[int]:
        events = await self.log.read(SESSION, self.record.stream_id, after=0)
        return [number for number, _ in events]

    async def on_record(self) -> StreamRecord:
        stream = await self.log.get_stream(SESSION, self.record.stream_id)
        assert stream is not None
        return stream


Scenario = Callable[[Desk], Awaitable[None]]


def run(path: Path, scenario: Scenario) -> None:
    async def main() -> None:
        database = await SqliteDatabase.open(path / "sessions.db")
        try:
            store = SqliteSessionStore(database)
            await store.create(SessionRecord(SESSION, Principal(), None, 0, 0))
            async with asyncio.timeout(20):
                await scenario(Desk(GatedLog(database)))
        finally:
            await database.close()

    asyncio.run(main())


def say(number: int) -> HandleRequestResponse:
    return notification_event("notifications/progress", {"progress": number})


def done() -> HandleRequestResponse:
    return answer_event(1, Result({"done": True}))


async def read(exchange: Exchange) -> list[str]:
    """Read a stream to its end: what each event is."""
    async with asyncio.timeout(5):
        return [
            event.message.event_id.rpartition(".")[2] or event.WhichOneof("event") or ""
            async for event in exchange.events()
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
    class AwayLog(GatedLog):
        async def open_stream(self, stream: StreamRecord) -> StreamRecord:  # noqa: ARG002
            raise StoreUnavailableError

    async def main() -> None:
        database = await SqliteDatabase.open(tmp_path / "sessions.db")
        exchange = Exchange()
        record = call_stream_record(SESSION, 1, "", 0)
        stream = EventStream(AwayLog(database), record, PRIMED, exchange)
        await stream.close_on_purpose()
        await stream.send(say(1))
        await stream.finish(done())
        assert await read(exchange) == ["stream_opened", "message", "message"]
        await database.close()

    asyncio.run(main())


def test_a_batch_ends_with_its_last_answer() -> None:
    async def main() -> None:
        exchange = Exchange()
        stream = BatchStream(exchange, 2)
        await stream.finish(answer_event(1, CANCELLED))
        stream.abort()
        assert exchange.open
        await stream.finish(answer_event(2, CANCELLED))
        stream.abort()
        assert await read(exchange) == ["message", "message"]

    asyncio.run(main())


@pytest.mark.parametrize("text", ["", ".", "a.", ".1", "a.-1", "a.1.", "a.\u0661", "a." + "9" * 16])
def test_what_is_no_event_id_is_unknown(text: str) -> None:
    with pytest.raises(EventUnknownError):
        parse_event_id(text)
