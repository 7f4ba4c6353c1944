"""The stream of one answer: order, bound, and what happens when either side goes away."""

import asyncio

import pytest
from tests.unit.session import exchanges

from linkspan.session.v1.session_pb2 import Message
from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_session.exchange import Exchange


def event(text: str) -> HandleRequestResponse:
    return HandleRequestResponse(message=Message(json=text))


SIZE = event("a").ByteSize()


async def read_all(exchange: Exchange) -> list[str]:
    return [each.message.json for each in await exchanges.read_all(exchange)]


async def take(exchange: Exchange) -> str:
    event = await exchange.take()
    assert event is not None
    return event.message.json


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_events_are_read_in_the_order_they_were_written() -> None:
    async def scenario() -> list[str]:
        exchange = Exchange()
        reading = asyncio.create_task(read_all(exchange))
        assert await exchange.send(event("1"))
        await settle()
        assert exchange.offer(event("2"))
        assert await exchange.send(event("3"))
        exchange.finish(event("4"))
        return await reading

    assert asyncio.run(scenario()) == ["1", "2", "3", "4"]


def test_nothing_follows_the_last_event() -> None:
    async def scenario() -> list[str]:
        exchange = Exchange()
        exchange.finish(event("last"))
        assert not exchange.open
        assert not await exchange.send(event("late"))
        assert not exchange.offer(event("later"))
        exchange.finish(event("latest"))
        exchange.fail(RuntimeError("too late"))
        return await read_all(exchange)

    assert asyncio.run(scenario()) == ["last"]


def test_a_writer_waits_while_the_reader_is_too_far_behind() -> None:
    async def scenario() -> None:
        exchange = Exchange(max_buffered_bytes=2 * SIZE)
        assert await exchange.send(event("1"))
        assert await exchange.send(event("2"))
        sending = asyncio.create_task(exchange.send(event("3")))
        await settle()
        assert not sending.done()
        assert await take(exchange) == "1"
        assert await sending
        exchange.finish()
        assert await read_all(exchange) == ["2", "3"]

    asyncio.run(scenario())


def test_one_event_over_the_bound_is_still_written() -> None:
    async def scenario() -> list[str]:
        exchange = Exchange(max_buffered_bytes=1)
        assert await exchange.send(event("larger than the bound"))
        exchange.finish()
        return await read_all(exchange)

    assert asyncio.run(scenario()) == ["larger than the bound"]


def test_cancelling_a_waiting_writer_writes_nothing() -> None:
    async def scenario() -> list[str]:
        exchange = Exchange(max_buffered_bytes=SIZE)
        assert await exchange.send(event("1"))
        sending = asyncio.create_task(exchange.send(event("2")))
        await settle()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        exchange.finish()
        return await read_all(exchange)

    assert asyncio.run(scenario()) == ["1"]


def test_offering_to_a_reader_too_far_behind_ends_the_stream() -> None:
    async def scenario() -> list[str]:
        exchange = Exchange(max_buffered_bytes=SIZE)
        assert exchange.offer(event("1"))
        assert not exchange.offer(event("2"))
        assert not exchange.open
        return await read_all(exchange)

    assert asyncio.run(scenario()) == ["1"]


@pytest.mark.parametrize("end", ["finish", "detach"])
def test_a_waiting_writer_learns_that_the_stream_is_over(end: str) -> None:
    async def scenario() -> None:
        exchange = Exchange(max_buffered_bytes=SIZE)
        assert await exchange.send(event("1"))
        sending = asyncio.create_task(exchange.send(event("2")))
        await settle()
        getattr(exchange, end)()
        async with asyncio.timeout(30):
            assert not await sending

    asyncio.run(scenario())


def test_writing_without_a_reader_says_so_and_keeps_nothing() -> None:
    async def scenario() -> list[str]:
        exchange = Exchange(max_buffered_bytes=SIZE)
        assert await exchange.send(event("1"))
        exchange.detach()
        assert not await exchange.send(event("2"))
        assert not exchange.offer(event("3"))
        exchange.finish(event("4"))
        return await read_all(exchange)

    assert asyncio.run(scenario()) == []


def test_going_away_is_told_once_and_only_before_the_end() -> None:
    told: list[str] = []
    early = Exchange(on_detach=lambda: told.append("early"))
    early.detach()
    early.detach()
    late = Exchange(on_detach=lambda: told.append("late"))
    late.finish()
    late.detach()
    assert told == ["early"]


def test_a_failure_comes_after_the_events_before_it() -> None:
    async def scenario() -> None:
        exchange = Exchange()
        assert await exchange.send(event("1"))
        exchange.fail(RuntimeError("the store is gone"))
        assert await take(exchange) == "1"
        with pytest.raises(RuntimeError, match="the store is gone"):
            await exchange.take()

    asyncio.run(scenario())


def test_a_waiting_reader_learns_of_the_end() -> None:
    async def scenario() -> list[str]:
        exchange = Exchange()
        reading = asyncio.create_task(read_all(exchange))
        await settle()
        exchange.finish()
        return await reading

    assert asyncio.run(scenario()) == []


def test_a_fast_writer_and_a_slow_reader_lose_nothing() -> None:
    async def scenario() -> None:
        exchange = Exchange(max_buffered_bytes=3 * SIZE)
        wanted = [str(number) for number in range(500)]

        async def write() -> None:
            for text in wanted:
                assert await exchange.send(event(text))
            exchange.finish()

        writing = asyncio.create_task(write())
        read: list[str] = []
        async for each in exchanges.events(exchange):
            read.append(each.message.json)
            await settle()
        await writing
        assert read == wanted

    asyncio.run(scenario())
