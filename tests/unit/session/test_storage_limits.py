"""How much a session may store: told where it is written, or at the commit at the latest."""

import pytest
from tests.unit.session.storage_record import Record, run

from linkspan_session.storage import StorageLimitError
from linkspan_session.storage.data import SessionData


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
