"""A session's way to the store: in order, as its owner, and told once when it is not any more."""

import asyncio
import logging
from pathlib import Path

import pytest
from tests.unit.session.session_servers import Fleet, SessionServer, run

from linkspan_session.errors import SessionMovedError, StoreUnavailableError
from linkspan_session.journal import Journal, commit_log
from linkspan_session.store import Changes, Ownership, SessionId

S = SessionId("s")


async def written(fleet: Fleet) -> tuple[SessionServer, Journal, list[str]]:
    """Start a server with a session; returns another journal of it, and what that was told."""
    here = await fleet.start("here")
    record = (await here.create("s")).record
    lost: list[str] = []
    ownership = Ownership(S, record.owner, record.epoch)
    return here, Journal(here.store, ownership, lambda: lost.append("lost")), lost


def puts(value: bytes) -> Changes:
    return Changes(storage={"k": value})


def test_a_commit_is_on_record_when_it_returns(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        _, journal, lost = await written(fleet)
        await journal.commit(puts(b"1"))
        assert await journal.read_storage() == {"k": b"1"}
        assert lost == []

    run(tmp_path, scenario)


def test_commits_are_written_in_the_order_of_the_calls(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, journal, _ = await written(fleet)
        gate = here.store.hold_before("commit")
        first = asyncio.create_task(journal.commit(puts(b"first")))
        await gate.arrived.wait()
        second = asyncio.create_task(journal.commit(puts(b"second")))
        assert not (await asyncio.wait({second}, timeout=0.05))[0]
        gate.opened.set()
        await asyncio.gather(first, second)
        assert await journal.read_storage() == {"k": b"second"}

    run(tmp_path, scenario)


def test_whoever_goes_away_while_it_commits_keeps_its_turn_until_that_is_done(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, journal, _ = await written(fleet)
        gate = here.store.hold_before("commit")
        first = asyncio.create_task(journal.commit(puts(b"first")))
        await gate.arrived.wait()
        waiting = asyncio.create_task(journal.commit(puts(b"waiting")))
        last = asyncio.create_task(journal.commit(puts(b"last")))
        await asyncio.sleep(0)
        waiting.cancel()
        first.cancel()
        await asyncio.sleep(0)
        assert not last.done()
        gate.opened.set()
        await last
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await journal.read_storage() == {"k": b"last"}

    run(tmp_path, scenario)


def test_the_loss_of_a_session_is_told_once_and_nothing_is_written(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, journal, lost = await written(fleet)
        there = await fleet.start("there", port=2)
        assert await there.store.claim(S, there.node, seen_epoch=1) is not None
        results = await asyncio.gather(
            *(journal.commit(puts(b"late")) for _ in range(3)), return_exceptions=True
        )
        assert {type(each) for each in results} == {SessionMovedError}
        assert lost == ["lost"]
        assert await here.store.read_storage(S) == {}

    run(tmp_path, scenario)


def test_who_is_stopped_because_the_session_is_lost_ends_cancelled_and_with_no_error(
    tmp_path: Path,
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here, there = await fleet.start("here"), await fleet.start("there", port=2)
        live = await here.create("s")
        assert await there.store.claim(S, there.node, seen_epoch=1) is not None

        def stop() -> None:
            writing.cancel()

        journal = Journal(here.store, live.journal.ownership, stop)
        writing = asyncio.create_task(journal.commit(Changes()))
        with pytest.raises(asyncio.CancelledError):
            await writing

    run(tmp_path, scenario)


def test_a_store_that_is_away_is_no_loss(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        _, journal, lost = await written(fleet)
        fleet.backend.take_away()
        with pytest.raises(StoreUnavailableError):
            await journal.commit(puts(b"1"))
        fleet.backend.bring_back()
        await journal.commit(puts(b"2"))
        assert lost == []

    run(tmp_path, scenario)


def test_a_request_without_a_key_is_never_found_again(tmp_path: Path) -> None:
    async def scenario(fleet: Fleet) -> None:
        _, journal, _ = await written(fleet)
        assert await journal.find_stream("") is None
        assert await journal.find_stream("key") is None

    run(tmp_path, scenario)


def test_the_log_of_commits_names_no_session_by_its_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(fleet: Fleet) -> None:
        here = await fleet.start("here")
        live = await here.create("a-secret-id")
        there = await fleet.start("there", port=2)
        assert await there.store.claim(SessionId("a-secret-id"), there.node, seen_epoch=1)
        with pytest.raises(SessionMovedError):
            await live.journal.commit(Changes())

    with caplog.at_level(logging.DEBUG, logger=commit_log.name):
        run(tmp_path, scenario)
    told = [each.getMessage() for each in caplog.records if each.name == commit_log.name]
    assert [each.split()[0] for each in told] == ["commit", "refused"]
    assert "version=2" in told[0]
    assert "epoch=1 owner=127.0.0.1:1#here" in told[1]
    assert "a-secret-id" not in caplog.text
