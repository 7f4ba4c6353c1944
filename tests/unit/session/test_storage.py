"""A session's storage among handlers that run at once: who sees what, who waits, what is kept."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from linkspan_session.errors import NotOwnerError, StoreUnavailableError
from linkspan_session.hosting_context import HostingContext, lending
from linkspan_session.storage import (
    NestedTransactionError,
    NoSessionStorageError,
    StorageClosedError,
    StorageLimitError,
    session_storage,
)
from linkspan_session.storage.data import SessionData
from linkspan_session.storage.handler import HandlerStorage
from linkspan_session.storage.values import decode
from linkspan_session.store import Principal


class Record:
    """What is on record of one session; it can be held up, and can fail."""

    def __init__(self, max_bytes: int = 100_000) -> None:
        self.values: dict[str, bytes] = {}
        self.loads = 0
        self.commits: list[dict[str, bytes | None]] = []
        self.failure: Exception | None = None
        self.going = asyncio.Event()
        """Whether the store gets on with its work."""
        self.going.set()
        self.reached = asyncio.Event()
        """Whether it was asked for something."""
        self.data = SessionData(self.load, self.commit, max_bytes=max_bytes)

    def hold_up(self) -> None:
        self.going.clear()
        self.reached.clear()

    async def load(self) -> Mapping[str, bytes]:
        self.loads += 1
        await self._work()
        return dict(self.values)

    async def commit(self, writes: Mapping[str, bytes | None]) -> None:
        written = dict(writes)
        await self._work()
        self.commits.append(written)
        for key, value in written.items():
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value

    async def _work(self) -> None:
        self.reached.set()
        await self.going.wait()
        if self.failure is not None:
            raise self.failure

    def read(self) -> dict[str, Any]:
        return {key: decode(value) for key, value in self.values.items()}

    # --- what the host does ----------------------------------------------------------------------

    def handler(self) -> HandlerStorage:
        return HandlerStorage(self.data)

    async def answer(self, storage: HandlerStorage) -> None:
        """End a handler well: its writes are on record with its answer."""
        try:
            writes = await storage.pending()
            await self.commit(writes)
            storage.committed()
        finally:
            storage.discard()

    @asynccontextmanager
    async def answering(self) -> AsyncGenerator[HandlerStorage]:
        """Run a handler that ends well."""
        storage = self.handler()
        yield storage
        await self.answer(storage)


Scenario = Callable[[Record], Coroutine[Any, Any, None]]


def run(scenario: Scenario, record: Callable[[], Record] = Record) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            await scenario(record())

    asyncio.run(main())


async def settle() -> None:
    """Let everything run that can run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def increment(storage: HandlerStorage, key: str = "count") -> None:
    async with storage.transaction():
        before = await storage.get(key, 0)
        await asyncio.sleep(0)
        await storage.put(key, before + 1)


# --- reading and writing --------------------------------------------------------------------------


def test_a_handler_sees_its_own_writes_and_others_see_them_once_they_are_on_record() -> None:
    async def scenario(record: Record) -> None:
        one, other = record.handler(), record.handler()
        await one.put("a", 1)
        await one.put("b", b"bytes")
        assert await one.get("a") == 1
        assert await one.list() == {"a": 1, "b": b"bytes"}
        assert await other.get("a") is None
        assert await other.get("a", "none") == "none"
        await record.answer(one)
        assert record.read() == {"a": 1, "b": b"bytes"}
        assert await other.get("a") == 1
        assert len(record.commits) == 1

    run(scenario)


def test_a_discarded_handler_leaves_nothing() -> None:
    async def scenario(record: Record) -> None:
        async with record.answering() as storage:
            await storage.put("kept", 1)
        failing = record.handler()
        await failing.put("kept", 2)
        await failing.put("lost", 2)
        assert await failing.delete("kept")
        failing.discard()
        assert await record.handler().list() == {"kept": 1}
        assert len(record.commits) == 1

    run(scenario)


def test_null_is_a_value() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        await storage.put("null", None)
        assert await storage.get("null", "default") is None
        assert await storage.delete("null")
        assert await storage.get("null", "default") == "default"

    run(scenario)


def test_delete_tells_whether_there_was_anything() -> None:
    async def scenario(record: Record) -> None:
        async with record.answering() as storage:
            assert not await storage.delete("a")
            await storage.put("a", 1)
        async with record.answering() as storage:
            assert await storage.delete("a")
            assert not await storage.delete("a")
            assert await storage.get("a") is None
            assert await storage.list() == {}
        assert record.values == {}

    run(scenario)


def test_list_is_in_key_order_and_of_one_prefix() -> None:
    async def scenario(record: Record) -> None:
        async with record.answering() as storage:
            for key in ("n/2", "n/10", "m", "n", "ü"):
                await storage.put(key, key)
        storage = record.handler()
        await storage.put("n/1", "new")
        await storage.delete("n/2")
        assert list(await storage.list()) == ["m", "n", "n/1", "n/10", "ü"]
        assert await storage.list("n/") == {"n/1": "new", "n/10": "n/10"}
        assert await storage.list("x") == {}

    run(scenario)


def test_changing_what_was_read_or_written_changes_nothing() -> None:
    async def scenario(record: Record) -> None:
        storage = record.handler()
        notes = ["one"]
        await storage.put("notes", notes)
        notes.append("two")
        (await storage.get("notes")).append("three")
        (await storage.list())["notes"].append("four")
        assert await storage.get("notes") == ["one"]

    run(scenario)


# --- loading --------------------------------------------------------------------------------------


def test_a_session_is_loaded_once_for_all_who_wait() -> None:
    async def scenario(record: Record) -> None:
        async with record.answering() as storage:
            await storage.put("a", 1)
        again = SessionData(record.load, record.commit)
        record.loads = 0
        record.hold_up()
        readers = [asyncio.ensure_future(HandlerStorage(again).get("a")) for _ in range(5)]
        await settle()
        record.going.set()
        assert await asyncio.gather(*readers) == [1] * 5
        assert await HandlerStorage(again).get("a") == 1
        assert record.loads == 1

    run(scenario)


def test_a_failed_load_reaches_all_who_wait_and_is_tried_again() -> None:
    async def scenario(record: Record) -> None:
        record.failure = StoreUnavailableError()
        record.hold_up()
        storage = record.handler()
        readers = [asyncio.ensure_future(storage.get("a")) for _ in range(3)]
        await settle()
        record.going.set()
        outcomes = await asyncio.gather(*readers, return_exceptions=True)
        assert [type(each) for each in outcomes] == [StoreUnavailableError] * 3
        assert record.loads == 1
        record.failure = None
        assert await storage.get("a", "none") == "none"
        await increment(storage)
        assert record.loads == 2

    run(scenario)


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


def test_a_load_that_fails_lets_the_next_transaction_in() -> None:
    async def scenario(record: Record) -> None:
        record.failure = StoreUnavailableError()
        with pytest.raises(StoreUnavailableError):
            await increment(record.handler())
        record.failure = None
        await increment(record.handler())
        assert record.read() == {"count": 1}

    run(scenario)


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


# --- cancellation ---------------------------------------------------------------------------------


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


# --- limits ---------------------------------------------------------------------------------------


def small() -> Record:
    return Record(max_bytes=100)


def test_the_whole_is_bounded_as_it_is_written_and_can_be_made_smaller() -> None:
    async def scenario(record: Record) -> None:
        async with record.answering() as storage:
            await storage.put("a", bytes(48))  # 50 with its key and the byte before it
            await storage.put("b", bytes(48))
            with pytest.raises(StorageLimitError, match=r"at most 100 bytes; .* 102"):
                await storage.put("c", b"")
            with pytest.raises(StorageLimitError):
                await storage.put("b", bytes(49))
            assert await storage.list() == {"a": bytes(48), "b": bytes(48)}
            await storage.put("b", bytes(46))
            await storage.put("c", b"")
        async with record.answering() as storage:
            with pytest.raises(StorageLimitError):
                await storage.put("d", b"")
            async with storage.transaction():
                with pytest.raises(StorageLimitError):
                    await storage.put("d", b"")
                await storage.delete("a")
                await storage.put("d", bytes(48))
            with pytest.raises(StorageLimitError):
                await storage.put("e", b"")
        assert record.data.size_bytes == 100
        assert sorted(record.values) == ["b", "c", "d"]

    run(scenario, small)


def test_room_that_others_took_meanwhile_is_found_out_at_the_commit() -> None:
    async def scenario(record: Record) -> None:
        one, other, third = (record.handler() for _ in range(3))
        await one.put("a", bytes(60))
        await other.put("b", bytes(60))
        await record.answer(one)
        with pytest.raises(StorageLimitError):
            await other.put("c", b"")
        with pytest.raises(StorageLimitError):
            await other.pending()
        async with third.transaction():
            await third.put("a", bytes(1))
        other.committed()
        assert record.data.size_bytes == 3

    run(scenario, small)


def test_what_others_wrote_to_the_same_key_does_not_count_twice() -> None:
    async def scenario(record: Record) -> None:
        one, other = record.handler(), record.handler()
        await one.put("a", bytes(48))
        await other.put("a", bytes(58))
        await record.answer(other)
        await one.put("b", bytes(48))
        await record.answer(one)
        assert record.data.size_bytes == 100

    run(scenario, small)


def test_a_transaction_finds_out_too_and_leaves_the_turn() -> None:
    async def scenario(record: Record) -> None:
        one, other = record.handler(), record.handler()

        async def block() -> None:
            async with one.transaction():
                await one.put("a", bytes(60))
                await other.put("b", bytes(60))
                await record.answer(other)

        with pytest.raises(StorageLimitError):
            await block()
        assert list(record.read()) == ["b"]
        async with one.transaction():
            await one.put("b", b"")
        assert record.data.size_bytes == 2

    run(scenario, small)


def test_a_session_that_is_over_a_limit_that_was_lowered_can_still_be_made_smaller() -> None:
    async def scenario(record: Record) -> None:
        async with record.answering() as storage:
            await storage.put("a", bytes(48))
            await storage.put("b", bytes(48))
        record.data = SessionData(record.load, record.commit, max_bytes=20)
        async with record.answering() as storage:
            await storage.put("a", bytes(40))
            with pytest.raises(StorageLimitError):
                await storage.put("a", bytes(41))
        async with record.answering() as storage:
            await storage.delete("b")
        assert record.data.size_bytes == 42

    run(scenario, small)


# --- session_storage() ----------------------------------------------------------------------------


def hosting(storage: HandlerStorage | None) -> HostingContext:
    return HostingContext(Principal(), cast("Any", None), storage=storage)


def test_session_storage_is_that_of_the_call() -> None:
    async def scenario(record: Record) -> None:
        async def handler(number: int) -> Any:
            with lending(hosting(storage := record.handler())):
                await session_storage().put("number", number)
                await settle()
                assert await storage.get("number") == number
                return await session_storage().get("number")

        assert await asyncio.gather(*(handler(number) for number in range(3))) == [0, 1, 2]

    run(scenario)


def test_without_a_session_session_storage_says_what_to_do() -> None:
    with lending(hosting(None)), pytest.raises(NoSessionStorageError, match="2026-07-28"):
        session_storage()
    with pytest.raises(NoSessionStorageError, match="linkspan run"):
        session_storage()
