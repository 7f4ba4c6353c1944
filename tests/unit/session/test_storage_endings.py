"""The end of a handler: its writes go on record with its answer, and then it is closed."""

import asyncio

import pytest
from tests.unit.session.storage_record import Record, increment, run, settle

from linkspan_session.storage import StorageClosedError
from linkspan_session.storage.handler import HandlerStorage

# --- the end of a handler -------------------------------------------------------------------------


def test_after_the_end_everything_is_refused() -> None:
    async def scenario(record: Record) -> None:
        for end in (HandlerStorage.discard, record.answer):
            storage = record.handler()
            await storage.put("a", 1)
            ended = end(storage)
            if ended is not None:
                await ended
            for use in (
                storage.get("a"),
                storage.put("a", 2),
                storage.delete("a"),
                storage.list(),
                storage.exclusive(),
                increment(storage),
            ):
                with pytest.raises(StorageClosedError, match="handler"):
                    await use
        await increment(record.handler())

    run(scenario)


def test_once_the_answer_is_being_committed_a_background_task_changes_it_no_more() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        await storage.put("a", 1)
        writes = await storage.pending()
        with pytest.raises(StorageClosedError):
            await storage.put("a", 2)
        await record.commit(writes)
        storage.committed()
        assert record.read() == {"a": 1}
        assert await record.handler().get("a") == 1

    run(scenario)


def test_a_background_task_in_a_transaction_is_closed_with_its_handler() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        go_on = asyncio.Event()

        async def background() -> None:
            async with storage.transaction():
                await storage.put("a", 1)
                await go_on.wait()

        task = asyncio.create_task(background())
        queued = asyncio.create_task(increment(storage))  # of the same handler
        await settle()
        await record.answer(storage)
        await increment(record.handler())  # need not wait for it
        go_on.set()
        outcomes = await asyncio.gather(task, queued, return_exceptions=True)
        assert [type(each) for each in outcomes] == [StorageClosedError] * 2
        assert record.read() == {"count": 1}
        await increment(record.handler())
        assert record.read() == {"count": 2}

    run(scenario)


def test_a_background_task_that_waits_for_its_turn_is_closed_with_its_handler() -> None:
    async def scenario(record: Record) -> None:
        async with record.handler().transaction():
            storage = record.handler()
            waiting = [
                asyncio.create_task(increment(storage)),
                asyncio.create_task(storage.exclusive()),
            ]
            await settle()
            storage.discard()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in outcomes] == [StorageClosedError] * 2
        await increment(record.handler())
        assert record.read() == {"count": 1}

    run(scenario)


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_commit_under_way_when_its_handler_ends_still_keeps_the_others_out(
    *, exclusive: bool
) -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        await storage.get("count")
        if exclusive:
            await storage.exclusive()
        record.hold_up()
        background = asyncio.create_task(increment(storage))
        await record.reached.wait()
        storage.discard()
        other = asyncio.create_task(increment(record.handler()))
        await settle()
        record.going.set()
        await asyncio.gather(background, other)
        assert record.read() == {"count": 2}
        await increment(record.handler())
        assert record.read() == {"count": 3}

    run(scenario)


def test_a_block_that_comes_to_its_commit_after_the_answer_is_refused() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        await storage.put("answered", 1)
        record.hold_up()
        background = asyncio.create_task(increment(storage))
        answering = asyncio.create_task(record.answer(storage))
        await settle()
        record.going.set()
        await answering
        with pytest.raises(StorageClosedError):
            await background
        assert record.read() == {"answered": 1}

    run(scenario)


def test_a_block_that_waits_to_commit_when_its_handler_ends_is_refused() -> None:
    async def scenario(record: Record) -> None:
        storage, other = record.handler(), record.handler()
        await other.put("a", 1)
        writes = await other.pending()
        background = asyncio.create_task(increment(storage))
        await settle()
        await record.answer(storage)
        await record.commit(writes)
        other.committed()
        with pytest.raises(StorageClosedError):
            await background
        assert record.read() == {"a": 1}
        await increment(record.handler())

    run(scenario)


def test_a_background_task_that_waits_for_the_load_is_closed_with_its_handler() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        record.hold_up()
        background = asyncio.create_task(storage.put("a", 1))
        await record.reached.wait()
        assert await storage.pending() == {}
        record.going.set()
        with pytest.raises(StorageClosedError):
            await background
        storage.committed()
        assert await record.handler().list() == {}

    run(scenario)


# --- what the host does ---------------------------------------------------------------------------


def test_commits_happen_one_after_another_so_that_memory_is_what_is_on_record() -> None:
    async def scenario(record: Record) -> None:
        one, other = record.handler(), record.handler()
        await one.put("a", 1)
        await other.put("a", 2)
        await one.pending()
        waiting = asyncio.create_task(other.pending())
        block = asyncio.create_task(increment(record.handler()))
        await settle()
        assert not waiting.done()
        assert record.commits == []
        one.discard()
        await record.commit(await waiting)
        other.committed()
        await block
        assert record.read() == {"a": 2, "count": 1}
        assert await record.handler().list() == record.read()

    run(scenario)


def test_a_handler_without_writes_waits_for_nobody() -> None:
    async def scenario(record: Record) -> None:
        one, other = record.handler(), record.handler()
        await one.put("a", 1)
        await one.pending()
        assert await other.pending() == {}
        other.committed()
        assert record.data.get("a") is None
        one.committed()
        assert await record.handler().get("a") == 1

    run(scenario)


def test_a_handler_that_never_used_its_storage_loads_nothing() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        assert await storage.pending() == {}
        storage.committed()
        assert record.loads == 0

    run(scenario)


def test_discard_may_come_at_any_time_and_after_committed_does_nothing() -> None:
    async def scenario(record: Record) -> None:
        one, other = record.handler(), record.handler()
        await one.put("a", 1)
        await other.put("b", 2)
        await record.commit(await one.pending())
        one.committed()
        await other.pending()
        one.discard()
        one.discard()
        block = asyncio.create_task(increment(record.handler()))
        await settle()
        assert not block.done()  # the turn is still the other's
        other.discard()
        await block
        assert await record.handler().list() == {"a": 1, "count": 1}

    run(scenario)


def test_only_what_pending_returned_is_ever_committed() -> None:
    async def scenario(record: Record) -> None:
        never_asked, discarded = record.handler(), record.handler()
        await never_asked.put("a", 1)
        never_asked.committed()
        await discarded.put("a", 1)
        await discarded.pending()
        discarded.discard()
        discarded.committed()
        assert await record.handler().list() == {}
        with pytest.raises(StorageClosedError):
            await never_asked.get("a")

    run(scenario)
