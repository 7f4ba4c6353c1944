"""Running tasks: each ends on record in one way, whatever its handler, client or request does."""

import asyncio
import dataclasses
import logging
import sqlite3
from pathlib import Path

import pytest
from tests.support.tasks import (
    ADA,
    BOB,
    TERMS,
    Process,
    Watched,
    at_rest,
    cancel,
    run_process,
    says_hi,
)

from linkspan_session.store.tasks import TaskRecord, TaskStatus
from linkspan_session.tasks.errors import (
    NoRoomError,
)
from linkspan_session.tasks.outcomes import failure_json
from linkspan_session.tasks.runner import TIMED_OUT
from linkspan_session.tasks.running import RunningTask


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


# --- ends ----------------------------------------------------------------------------------------


def test_what_the_handler_returns_completes_the_task(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(says_hi)
        assert record.status is TaskStatus.WORKING
        over = await here.end_of(record)
        assert (over.status, over.outcome_json) == (TaskStatus.COMPLETED, '{"value":"hi"}')

    run_process(path, scenario)


def test_the_task_is_on_record_before_its_handler_starts(path: Path) -> None:
    seen: list[TaskStatus] = []

    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            assert running.created is not None
            seen.append((await here.seen(running.created)).status)
            return "done"

        await here.end_of(await here.task(work))

    run_process(path, scenario)
    assert seen == [TaskStatus.WORKING]


def test_what_the_handler_raises_fails_the_task(path: Path) -> None:
    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            raise KeyError("lost")

        over = await here.end_of(await here.task(work))
        assert over.status is TaskStatus.FAILED
        assert over.outcome_json == '{"code":-32000,"message":"KeyError: \'lost\'"}'
        assert over.message == "KeyError: 'lost'"

    run_process(path, scenario)


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError("mine")])
def test_a_handler_cannot_end_more_than_its_task(path: Path, error: BaseException) -> None:
    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            raise error

        assert (await here.end_of(await here.task(work))).status is TaskStatus.FAILED
        assert (await here.end_of(await here.task(says_hi))).status is TaskStatus.COMPLETED

    run_process(path, scenario)


def test_a_task_over_its_time_is_stopped_and_failed(path: Path) -> None:
    handler = Watched()

    async def scenario(here: Process) -> None:
        terms = dataclasses.replace(TERMS, run_seconds=0.05)
        over = await here.end_of(await here.task(handler, terms))
        assert (over.status, over.outcome_json) == (TaskStatus.FAILED, failure_json(TIMED_OUT))

    run_process(path, scenario)
    assert handler.cancelled.is_set()


def test_a_result_over_its_limit_fails_the_task(path: Path) -> None:
    async def scenario(here: Process) -> None:
        terms = dataclasses.replace(TERMS, max_outcome_bytes=5)
        over = await here.end_of(await here.task(says_hi, terms))
        assert over.status is TaskStatus.FAILED
        assert "larger than 5 bytes" in (over.message or "")

    run_process(path, scenario)


def test_an_end_is_put_on_record_once_the_store_is_back(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def execute(statement: str) -> None:
        connection = sqlite3.connect(path)
        with connection:
            connection.execute(statement)
        connection.close()

    async def scenario(here: Process) -> None:
        ending = asyncio.Event()

        async def work(running: RunningTask) -> object:
            await ending.wait()
            execute("ALTER TABLE tasks RENAME TO away")
            return "hi"

        record = await here.task(work)
        with caplog.at_level(logging.WARNING):
            ending.set()
            async with asyncio.timeout(30):
                while "the session store failed" not in caplog.text:
                    await here.hold_lease()  # leases are still there, and let time pass
        execute("ALTER TABLE away RENAME TO tasks")
        assert (await here.end_of(record)).status is TaskStatus.COMPLETED

    run_process(path, scenario)


# --- cancelling ----------------------------------------------------------------------------------


def test_cancelling_a_task_cancels_its_handler(path: Path) -> None:
    handler = Watched()

    async def scenario(here: Process) -> None:
        record = await here.task(handler)
        await handler.begun.wait()
        await cancel(here, record)
        assert (await here.seen(record)).status is TaskStatus.CANCELLED
        await handler.cancelled.wait()

    run_process(path, scenario)


def test_a_handler_that_swallows_its_cancellation_changes_nothing(path: Path) -> None:
    ended = asyncio.Event()

    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            try:
                return await at_rest(running)
            except asyncio.CancelledError:
                return "never mind"
            finally:
                ended.set()

        record = await here.task(work)
        await cancel(here, record)
        await ended.wait()
        assert (await here.seen(record)).status is TaskStatus.CANCELLED

    run_process(path, scenario)


def test_cancelling_what_has_ended_changes_nothing(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(says_hi)
        over = await here.end_of(record)
        await cancel(here, record)
        assert await here.seen(record) == over

    run_process(path, scenario)


def test_a_cancelled_task_hears_of_it_when_it_next_says_something(path: Path) -> None:
    went_on: list[str] = []

    async def scenario(here: Process) -> None:
        cancelled, over = asyncio.Event(), asyncio.Event()

        async def work(running: RunningTask) -> object:
            try:
                await cancelled.wait()
                await running.note("still here")
                went_on.append("went on")
                return "never"
            finally:
                over.set()

        record = await here.task(work)
        await here.ledger.cancel(record.task_id, ADA)  # as another process would: nobody is told
        cancelled.set()
        await over.wait()
        assert (await here.seen(record)).status is TaskStatus.CANCELLED

    run_process(path, scenario)
    assert went_on == []


# --- the request that begins a task --------------------------------------------------------------


def test_a_handler_that_never_becomes_a_task_answers_its_request(path: Path) -> None:
    async def scenario(here: Process) -> None:
        assert await here.begin(says_hi, at_once=False) == "hi"
        assert await here.ledger.unfinished() == {}

    run_process(path, scenario)


def test_a_handler_can_become_a_task_when_it_says_so(path: Path) -> None:
    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            await running.begin()
            await running.begin()
            return "hi"

        record = await here.begin(work, at_once=False)
        assert isinstance(record, TaskRecord)
        assert (await here.end_of(record)).outcome_json == '{"value":"hi"}'

    run_process(path, scenario)


def test_what_a_handler_raises_before_it_is_a_task_is_its_requests(path: Path) -> None:
    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            raise KeyError("lost")

        with pytest.raises(KeyError):
            await here.begin(work, at_once=False)

    run_process(path, scenario)


def test_a_request_that_is_cancelled_takes_its_handler_along(path: Path) -> None:
    handler = Watched()

    async def scenario(here: Process) -> None:
        asking = asyncio.ensure_future(here.begin(handler, at_once=False))
        await handler.begun.wait()
        asking.cancel()
        await handler.cancelled.wait()
        with pytest.raises(asyncio.CancelledError):
            await asking

    run_process(path, scenario)


def test_a_request_that_is_cancelled_while_its_task_is_made_leaves_none_running(
    path: Path,
) -> None:
    handler = Watched()

    async def scenario(here: Process) -> None:
        asking = asyncio.ensure_future(here.begin(handler))
        await asyncio.sleep(0)  # the handler's task has been made
        await asyncio.sleep(0)  # and is at work on its record
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(30):
            while await here.ledger.unfinished():
                pass
        await here.runner.drain()

    run_process(path, scenario)


def test_a_task_outlives_the_request_that_began_it(path: Path) -> None:
    async def scenario(here: Process) -> None:
        finish = asyncio.Event()

        async def work(running: RunningTask) -> object:
            await finish.wait()
            return "hi"

        async with asyncio.TaskGroup() as requests:
            asking = requests.create_task(here.task(work))
        asking.cancel()
        finish.set()
        assert (await here.end_of(asking.result())).status is TaskStatus.COMPLETED

    run_process(path, scenario)


def test_a_principal_has_room_for_so_many_tasks(path: Path) -> None:
    async def scenario(here: Process) -> None:
        terms = dataclasses.replace(TERMS, max_unfinished=1)
        record = await here.task(at_rest, terms)
        with pytest.raises(NoRoomError):
            await here.begin(says_hi, terms=terms)
        await here.begin(says_hi, terms=terms, principal=BOB)
        await cancel(here, record)
        await here.end_of(await here.task(says_hi, terms))

    run_process(path, scenario)
