"""What a handler reads and writes in its session, and what the others see of it."""

import asyncio
from typing import Any, cast

import pytest
from tests.unit.session.storage_record import Record, increment, run, settle

from linkspan_session.errors import StoreUnavailableError
from linkspan_session.hosting_context import HostingContext, lending
from linkspan_session.storage import NoSessionStorageError, session_storage
from linkspan_session.storage.data import SessionData
from linkspan_session.storage.handler import HandlerStorage
from linkspan_session.store import Principal

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


def test_a_load_that_fails_lets_the_next_transaction_in() -> None:
    async def scenario(record: Record) -> None:
        record.failure = StoreUnavailableError()
        with pytest.raises(StoreUnavailableError):
            await increment(record.handler())
        record.failure = None
        await increment(record.handler())
        assert record.read() == {"count": 1}

    run(scenario)


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
