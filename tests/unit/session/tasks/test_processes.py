"""Tasks and processes: seen from all, told of by each other, lost with one, ended with one."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.support.tasks import (
    ADA,
    ASKED_INPUT,
    BOB,
    TERMS,
    Clock,
    Process,
    Watched,
    answer,
    asks,
    at_rest,
    cancel,
    keys,
    process,
    run_process,
    says_hi,
)

from linkspan_session.store.tasks import TaskId, TaskRecord, TaskStatus
from linkspan_session.tasks.errors import (
    ClosingError,
    TaskEndedError,
    UnknownTaskError,
)
from linkspan_session.tasks.ledger import LOST, TaskTerms
from linkspan_session.tasks.outcomes import failure_json
from linkspan_session.tasks.runner import SHUT_DOWN
from linkspan_session.tasks.running import RunningTask


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


# --- other processes -----------------------------------------------------------------------------


def with_another(path: Path, scenario: Callable[[Process, Process], Any]) -> None:
    async def main() -> None:
        async with asyncio.timeout(50), process(path) as here, process(path) as there:
            await scenario(here, there)

    asyncio.run(main())


def test_a_task_is_seen_from_every_process(path: Path) -> None:
    async def scenario(here: Process, there: Process) -> None:
        record = await here.task(says_hi)
        assert (await there.end_of(record)).outcome_json == '{"value":"hi"}'

    with_another(path, scenario)


def test_an_answer_to_another_process_finds_the_handler(path: Path) -> None:
    async def scenario(here: Process, there: Process) -> None:
        record = await here.task(asks("name"))
        asked = await there.until(record, lambda now: now.status is ASKED_INPUT)
        await answer(there, record, {keys(asked)[0]: '"Ada"'})
        assert (await there.end_of(record)).status is TaskStatus.COMPLETED

    with_another(path, scenario)


def test_a_cancellation_by_another_process_finds_the_handler(path: Path) -> None:
    handler = Watched()

    async def scenario(here: Process, there: Process) -> None:
        record = await here.task(handler)
        await handler.begun.wait()
        await cancel(there, record)
        await handler.cancelled.wait()
        assert (await here.seen(record)).status is TaskStatus.CANCELLED

    with_another(path, scenario)


def test_a_task_of_another_principal_is_as_unknown_as_none(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(at_rest)
        for task_id, principal in ((record.task_id, BOB), (TaskId("none"), ADA)):
            with pytest.raises(UnknownTaskError):
                await here.ledger.find(task_id, principal)
            with pytest.raises(UnknownTaskError):
                await here.ledger.cancel(task_id, principal)
            with pytest.raises(UnknownTaskError):
                await here.ledger.answer(task_id, principal, {"1-name": "1"})
        assert (await here.seen(record)).status is TaskStatus.WORKING

    run_process(path, scenario)


def test_a_task_is_unknown_once_its_time_is_over(path: Path) -> None:
    clock = Clock()

    async def main() -> None:
        async with process(path, clock) as here:
            record = await here.task(says_hi)
            await here.end_of(record)
            clock.turn(TERMS.run_seconds + TERMS.keep_seconds - 1)
            await here.seen(record)
            clock.turn(1)
            with pytest.raises(UnknownTaskError):
                await here.seen(record)

    asyncio.run(main())


def test_a_task_whose_process_lost_its_lease_has_failed(path: Path) -> None:
    async def scenario(here: Process, there: Process) -> None:
        handler = Watched()
        record = await here.task(handler)
        assert (await there.seen(record)).status is TaskStatus.WORKING
        await here.hold_lease(0.01)
        lost = await there.until(record, lambda now: now.finished)
        assert (lost.status, lost.outcome_json) == (TaskStatus.FAILED, failure_json(LOST))
        # It was not dead, only silent: it hears of the end, and changes nothing of it.
        await handler.cancelled.wait()
        assert await here.seen(record) == lost

    with_another(path, scenario)


def test_a_process_needs_no_lease_to_find_its_own_tasks_alive(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(at_rest)
        await here.store.nodes.leave(here.ledger.runner)
        assert (await here.seen(record)).status is TaskStatus.WORKING

    run_process(path, scenario)


# --- shutting down -------------------------------------------------------------------------------


def test_what_runs_at_shutdown_is_failed_and_stopped(path: Path) -> None:
    handler = Watched()
    records: list[TaskRecord] = []

    async def scenario(here: Process) -> None:
        records.append(await here.task(handler))
        await handler.begun.wait()

    run_process(path, scenario)
    assert handler.cancelled.is_set()

    async def look(here: Process) -> None:
        over = await here.seen(records[0])
        assert (over.status, over.outcome_json) == (TaskStatus.FAILED, failure_json(SHUT_DOWN))

    run_process(path, look)


def test_a_task_that_does_not_heed_its_cancellation_is_failed_on_record(path: Path) -> None:
    async def scenario(here: Process) -> None:
        begun, finish = asyncio.Event(), asyncio.Event()

        async def work(running: RunningTask) -> object:
            with anyio.CancelScope(shield=True):
                begun.set()
                await finish.wait()
            return "too late"

        record = await here.task(work)
        await begun.wait()
        draining = asyncio.ensure_future(here.runner.drain())
        assert (await here.end_of(record)).outcome_json == failure_json(SHUT_DOWN)
        finish.set()
        await draining

    run_process(path, scenario)


def test_nothing_begins_during_shutdown(path: Path) -> None:
    async def scenario(here: Process) -> None:
        await here.runner.drain()
        with pytest.raises(ClosingError):
            await here.begin(says_hi)

    run_process(path, scenario)


def test_a_handle_without_a_task_has_ended() -> None:
    async def main() -> None:
        async def begin(running: RunningTask) -> TaskRecord:
            raise AssertionError

        ledger: Any = None
        running = RunningTask(ledger, "dig", ADA, TERMS, begin)
        with pytest.raises(TaskEndedError):
            await running.note("hello")

    asyncio.run(main())


@pytest.mark.parametrize("bad", [0, -1, float("inf"), float("nan")])
def test_terms_that_grant_nothing_or_everything_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="run_seconds must be a positive number"):
        TaskTerms(run_seconds=bad)
