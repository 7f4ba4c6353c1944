"""Storage when handlers are cancelled: nobody waits in vain, and what has begun is ended."""

import asyncio
import gc
from typing import Any

from tests.unit.session.storage_record import Record, increment, run, settle

from linkspan_session.errors import StoreUnavailableError


def test_who_is_cancelled_while_loading_leaves_it_to_those_who_wait() -> None:
    async def scenario(record: Record) -> None:
        record.hold_up()
        first, second, third = (
            asyncio.ensure_future(record.handler().get("a", "none")) for _ in range(3)
        )
        await settle()
        first.cancel()
        third.cancel()
        await settle()
        assert first.cancelled()
        assert third.cancelled()
        record.going.set()
        assert await second == "none"
        assert record.loads == 2

    run(scenario)


def test_who_is_cancelled_while_waiting_for_a_transaction_does_not_hold_the_others_up() -> None:
    async def scenario(record: Record) -> None:
        first = record.handler()
        async with first.transaction():
            waiting = [asyncio.ensure_future(increment(record.handler())) for _ in range(3)]
            await settle()
            waiting[0].cancel()
            await settle()
            waiting[1].cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in outcomes[:2]] == [asyncio.CancelledError] * 2
        assert record.read() == {"count": 1}

    run(scenario)


def test_who_is_cancelled_in_a_block_leaves_nothing_of_it() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()

        async def block() -> None:
            async with storage.transaction():
                await storage.put("a", 1)
                await asyncio.Event().wait()

        task = asyncio.create_task(block())
        await settle()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await storage.list() == {}
        await increment(record.handler())
        assert record.read() == {"count": 1}

    run(scenario)


def test_a_commit_that_has_begun_is_ended_and_memory_follows() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        await storage.put("count", 5)  # loads, too
        record.hold_up()
        task = asyncio.create_task(increment(storage))
        await record.reached.wait()
        waiting = asyncio.create_task(increment(record.handler()))
        for _ in range(3):
            task.cancel()
            await settle()
        assert not task.done()
        record.going.set()
        await asyncio.wait([task, waiting])
        assert task.cancelled()
        assert record.read() == {"count": 7}
        assert await record.handler().get("count") == 7
        assert await storage.pending() == {}

    run(scenario)


def test_a_commit_that_fails_after_its_handler_was_cancelled_changes_nothing() -> None:
    async def scenario(record: Record) -> None:
        reported: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))
        storage = record.handler()
        await storage.get("count")
        record.failure = StoreUnavailableError()
        record.hold_up()
        task = asyncio.create_task(increment(storage))
        await record.reached.wait()
        task.cancel()
        await settle()
        record.going.set()
        await asyncio.wait([task])
        assert task.cancelled()
        del task
        gc.collect()
        assert reported == []
        record.failure = None
        assert await record.handler().list() == {}
        await increment(record.handler())
        assert record.read() == {"count": 1}

    run(scenario)


def test_who_is_cancelled_while_waiting_to_be_exclusive_holds_nothing() -> None:
    async def scenario(record: Record) -> None:
        first, second = record.handler(), record.handler()
        await first.exclusive()
        waiting = asyncio.create_task(second.exclusive())
        await settle()
        waiting.cancel()
        await asyncio.wait([waiting])
        second.discard()
        first.discard()
        await increment(record.handler())
        assert record.read() == {"count": 1}

    run(scenario)


def test_who_is_cancelled_while_waiting_to_commit_holds_nothing() -> None:
    async def scenario(record: Record) -> None:
        one, other = record.handler(), record.handler()
        await one.put("a", 1)
        await other.put("a", 2)
        writes = await one.pending()
        waiting = asyncio.create_task(other.pending())
        await settle()
        waiting.cancel()
        await asyncio.wait([waiting])
        other.discard()
        await record.commit(writes)
        one.committed()
        await increment(record.handler())
        assert record.read() == {"a": 1, "count": 1}

    run(scenario)
