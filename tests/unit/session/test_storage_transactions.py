"""Handlers that write at once take turns: a transaction is all or nothing, and loses nothing."""

import asyncio

import pytest
from tests.unit.session.storage_record import Record, increment, run, settle

from linkspan_session.errors import NotOwnerError, StoreUnavailableError
from linkspan_session.storage import NestedTransactionError, StorageClosedError

# --- transactions ---------------------------------------------------------------------------------


def test_increments_at_once_lose_nothing() -> None:
    async def scenario(record: Record) -> None:
        async def handler() -> None:
            async with record.answering() as storage:
                await increment(storage)
                await increment(storage)

        await asyncio.gather(*(handler() for _ in range(20)))
        assert record.read() == {"count": 40}

    run(scenario)


def test_increments_of_one_handlers_tasks_lose_nothing() -> None:
    async def scenario(record: Record) -> None:
        async with record.answering() as storage:
            await asyncio.gather(*(increment(storage) for _ in range(5)))
            await storage.exclusive()
            await asyncio.gather(*(increment(storage) for _ in range(5)))
        assert record.read() == {"count": 10}

    run(scenario)


def test_tasks_of_one_handler_do_not_wait_for_each_other_in_vain() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        async with record.handler().transaction():
            waiting = [
                asyncio.create_task(storage.exclusive()),
                asyncio.create_task(increment(storage)),
                asyncio.create_task(storage.exclusive()),
            ]
            await settle()
        await asyncio.gather(*waiting)
        assert record.read() == {"count": 1}

    run(scenario)


def test_transactions_come_in_the_order_in_which_they_were_begun() -> None:
    async def scenario(record: Record) -> None:
        order: list[int] = []

        async def handler(number: int) -> None:
            async with record.handler().transaction():
                await settle()
                order.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(handler(number))
                await asyncio.sleep(0)
        assert order == list(range(5))

    run(scenario)


def test_a_transaction_is_on_record_at_its_end_whatever_becomes_of_the_handler() -> None:
    async def scenario(record: Record) -> None:
        storage, other = record.handler(), record.handler()
        await storage.put("before", 1)
        async with storage.transaction():
            assert await storage.get("before") == 1
            await storage.put("within", 1)
            assert await storage.list() == {"before": 1, "within": 1}
            assert await other.list() == {}
        assert record.read() == {"within": 1}
        assert await other.list() == {"within": 1}
        storage.discard()
        assert record.read() == {"within": 1}

    run(scenario)


def test_an_exception_discards_the_block_and_nothing_else() -> None:
    async def scenario(record: Record) -> None:
        async with record.answering() as storage:
            await storage.put("before", 1)

            async def fail() -> None:
                async with storage.transaction():
                    await storage.put("before", 2)
                    await storage.put("within", 2)
                    raise KeyError

            with pytest.raises(KeyError):
                await fail()
            assert await storage.list() == {"before": 1}
            await storage.put("after", 1)
        assert record.read() == {"before": 1, "after": 1}

    run(scenario)


def test_what_the_block_wrote_is_not_overwritten_by_what_was_written_before_it() -> None:
    async def scenario(record: Record) -> None:
        async with record.answering() as storage:
            await storage.put("count", 5)
            await increment(storage)
            assert await storage.get("count") == 6
        assert record.read() == {"count": 6}

    run(scenario)


def test_what_is_written_after_the_block_is_pending_again() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        await increment(storage)
        await storage.put("count", 7)
        assert record.read() == {"count": 1}
        await record.answer(storage)
        assert record.read() == {"count": 7}

    run(scenario)


def test_a_transaction_within_a_transaction_is_refused_not_a_deadlock() -> None:
    async def scenario(record: Record) -> None:
        async with record.answering() as storage:
            async with storage.transaction():
                with pytest.raises(NestedTransactionError):
                    async with storage.transaction():
                        pytest.fail("it was begun")
                with pytest.raises(NestedTransactionError):
                    await asyncio.create_task(increment(storage))
                await storage.put("a", 1)
            await increment(storage)
        assert record.read() == {"a": 1, "count": 1}

    run(scenario)


def test_a_task_of_the_handler_outside_of_the_block_writes_outside_of_it() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def block() -> None:
            async with storage.transaction():
                await storage.put("within", 1)
                begun.set()
                await go_on.wait()

        within = asyncio.create_task(block())
        await begun.wait()
        await storage.put("beside", 1)
        assert await storage.list() == {"beside": 1}
        go_on.set()
        await within
        assert record.read() == {"within": 1}

    run(scenario)


def test_a_task_begun_in_a_block_that_is_over_is_told_so() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        over = asyncio.Event()

        async def late() -> None:
            await over.wait()
            await storage.put("late", 1)

        async def late_increment() -> None:
            await over.wait()
            await increment(storage)

        async with storage.transaction():
            late_write = asyncio.create_task(late())
            late_block = asyncio.create_task(late_increment())
        over.set()
        with pytest.raises(StorageClosedError, match="transaction"):
            await late_write
        await late_block  # a transaction of its own
        await record.answer(storage)
        assert record.read() == {"count": 1}

    run(scenario)


@pytest.mark.parametrize("failure", [NotOwnerError(), StoreUnavailableError()])
def test_a_commit_that_is_refused_raises_in_the_handler_and_changes_nothing(
    failure: Exception,
) -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        await storage.put("count", 5)
        record.failure = failure
        with pytest.raises(type(failure)):
            await increment(storage)
        assert await storage.get("count") == 5
        assert await record.handler().list() == {}
        record.failure = None
        await increment(record.handler())
        assert record.read() == {"count": 1}

    run(scenario)


def test_a_transaction_that_writes_nothing_commits_nothing() -> None:
    async def scenario(record: Record) -> None:
        async with record.handler().transaction():
            pass
        assert record.commits == []

    run(scenario)


# --- exclusive ------------------------------------------------------------------------------------


def test_an_exclusive_handler_keeps_others_out_until_its_answer_is_on_record() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        await storage.exclusive()
        await storage.exclusive()
        transaction = asyncio.create_task(increment(record.handler()))
        rival = record.handler()
        exclusive = asyncio.create_task(rival.exclusive())
        assert await record.handler().get("count", "none") == "none"  # reading goes on
        count = await storage.get("count", 0)
        await storage.put("count", count + 10)
        await increment(storage)
        await settle()
        assert not transaction.done()
        writes = await storage.pending()
        await settle()
        assert not transaction.done()
        await record.commit(writes)
        storage.committed()
        await transaction
        await exclusive
        assert await rival.get("count") == 12

    run(scenario)


@pytest.mark.parametrize("within_block", [False, True])
def test_an_exclusive_handler_that_fails_lets_the_others_in(*, within_block: bool) -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        if within_block:
            async with storage.transaction():
                await storage.exclusive()
        else:
            await storage.exclusive()
        await storage.put("count", 10)
        waiting = asyncio.create_task(increment(record.handler()))
        await settle()
        assert not waiting.done()
        storage.discard()
        await waiting
        assert record.read() == {"count": 1}

    run(scenario)
