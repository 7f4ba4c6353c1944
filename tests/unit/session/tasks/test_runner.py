"""Running tasks: each ends on record in one way, whatever its handler, client or process does."""

import asyncio
import dataclasses
import logging
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest
from tests.support.tasks import ADA, BOB, TERMS, Clock, Process, process

from linkspan_session.store.tasks import TaskId, TaskRecord, TaskStatus
from linkspan_session.tasks.errors import (
    ClosingError,
    NoRoomError,
    TaskEndedError,
    UnknownTaskError,
)
from linkspan_session.tasks.ledger import LEASE_SECONDS, LOST, TaskTerms
from linkspan_session.tasks.outcomes import failure_json
from linkspan_session.tasks.runner import SHUT_DOWN, TIMED_OUT
from linkspan_session.tasks.running import RunningTask

Scenario = Callable[[Process], Coroutine[Any, Any, None]]

ASKED_INPUT = TaskStatus.INPUT_REQUIRED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


def run(path: Path, scenario: Scenario) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), process(path) as here:
            await scenario(here)

    asyncio.run(main())


async def at_rest(running: RunningTask) -> object:
    await anyio.sleep_forever()
    raise AssertionError


async def says_hi(running: RunningTask) -> object:
    return "hi"


class Watched:
    """A handler that waits, and whose end can be waited for."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, running: RunningTask) -> object:
        self.begun.set()
        try:
            return await at_rest(running)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def asks(*names: str, timeout_seconds: float | None = None) -> Callable[..., Any]:
    async def work(running: RunningTask) -> object:
        questions = {name: f'"{name}?"' for name in names}
        return await running.ask(questions, timeout_seconds=timeout_seconds)

    return work


def keys(record: TaskRecord) -> list[str]:
    return [each.key for each in record.outstanding]


async def answer(here: Process, record: TaskRecord, answers: dict[str, str]) -> None:
    await here.ledger.answer(record.task_id, record.principal, answers)
    here.runner.poke(record.task_id)


async def cancel(here: Process, record: TaskRecord) -> None:
    await here.ledger.cancel(record.task_id, record.principal)
    here.runner.stop(record.task_id)


# --- ends ----------------------------------------------------------------------------------------


def test_what_the_handler_returns_completes_the_task(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(says_hi)
        assert record.status is TaskStatus.WORKING
        over = await here.end_of(record)
        assert (over.status, over.outcome_json) == (TaskStatus.COMPLETED, '{"value":"hi"}')

    run(path, scenario)


def test_the_task_is_on_record_before_its_handler_starts(path: Path) -> None:
    seen: list[TaskStatus] = []

    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            assert running.created is not None
            seen.append((await here.seen(running.created)).status)
            return "done"

        await here.end_of(await here.task(work))

    run(path, scenario)
    assert seen == [TaskStatus.WORKING]


def test_what_the_handler_raises_fails_the_task(path: Path) -> None:
    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            raise KeyError("lost")

        over = await here.end_of(await here.task(work))
        assert over.status is TaskStatus.FAILED
        assert over.outcome_json == '{"code":-32000,"message":"KeyError: \'lost\'"}'
        assert over.message == "KeyError: 'lost'"

    run(path, scenario)


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError("mine")])
def test_a_handler_cannot_end_more_than_its_task(path: Path, error: BaseException) -> None:
    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            raise error

        assert (await here.end_of(await here.task(work))).status is TaskStatus.FAILED
        assert (await here.end_of(await here.task(says_hi))).status is TaskStatus.COMPLETED

    run(path, scenario)


def test_a_task_over_its_time_is_stopped_and_failed(path: Path) -> None:
    handler = Watched()

    async def scenario(here: Process) -> None:
        terms = dataclasses.replace(TERMS, run_seconds=0.05)
        over = await here.end_of(await here.task(handler, terms))
        assert (over.status, over.outcome_json) == (TaskStatus.FAILED, failure_json(TIMED_OUT))

    run(path, scenario)
    assert handler.cancelled.is_set()


def test_a_result_over_its_limit_fails_the_task(path: Path) -> None:
    async def scenario(here: Process) -> None:
        terms = dataclasses.replace(TERMS, max_outcome_bytes=5)
        over = await here.end_of(await here.task(says_hi, terms))
        assert over.status is TaskStatus.FAILED
        assert "larger than 5 bytes" in (over.message or "")

    run(path, scenario)


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
            async with asyncio.timeout(10):
                while "the session store failed" not in caplog.text:
                    await here.ledger.end_lease()  # it is still there, and lets time pass
        execute("ALTER TABLE away RENAME TO tasks")
        assert (await here.end_of(record)).status is TaskStatus.COMPLETED

    run(path, scenario)


# --- cancelling ----------------------------------------------------------------------------------


def test_cancelling_a_task_cancels_its_handler(path: Path) -> None:
    handler = Watched()

    async def scenario(here: Process) -> None:
        record = await here.task(handler)
        await handler.begun.wait()
        await cancel(here, record)
        assert (await here.seen(record)).status is TaskStatus.CANCELLED
        await handler.cancelled.wait()

    run(path, scenario)


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

    run(path, scenario)


def test_cancelling_what_has_ended_changes_nothing(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(says_hi)
        over = await here.end_of(record)
        await cancel(here, record)
        assert await here.seen(record) == over

    run(path, scenario)


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

    run(path, scenario)
    assert went_on == []


# --- the request that begins a task --------------------------------------------------------------


def test_a_handler_that_never_becomes_a_task_answers_its_request(path: Path) -> None:
    async def scenario(here: Process) -> None:
        assert await here.begin(says_hi, at_once=False) == "hi"
        assert await here.ledger.unfinished() == {}

    run(path, scenario)


def test_a_handler_can_become_a_task_when_it_says_so(path: Path) -> None:
    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            await running.begin()
            await running.begin()
            return "hi"

        record = await here.begin(work, at_once=False)
        assert isinstance(record, TaskRecord)
        assert (await here.end_of(record)).outcome_json == '{"value":"hi"}'

    run(path, scenario)


def test_what_a_handler_raises_before_it_is_a_task_is_its_requests(path: Path) -> None:
    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            raise KeyError("lost")

        with pytest.raises(KeyError):
            await here.begin(work, at_once=False)

    run(path, scenario)


def test_a_request_that_is_cancelled_takes_its_handler_along(path: Path) -> None:
    handler = Watched()

    async def scenario(here: Process) -> None:
        asking = asyncio.ensure_future(here.begin(handler, at_once=False))
        await handler.begun.wait()
        asking.cancel()
        await handler.cancelled.wait()
        with pytest.raises(asyncio.CancelledError):
            await asking

    run(path, scenario)


def test_a_request_that_is_cancelled_while_its_task_is_made_leaves_none_running(
    path: Path,
) -> None:
    handler = Watched()

    async def scenario(here: Process) -> None:
        await here.end_of(await here.task(says_hi))  # the lease is held: the record comes first
        asking = asyncio.ensure_future(here.begin(handler))
        await asyncio.sleep(0)  # the handler's task has been made
        await asyncio.sleep(0)  # and is at work on its record
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(10):
            while await here.ledger.unfinished():
                pass
        await here.runner.drain()

    run(path, scenario)


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

    run(path, scenario)


def test_a_principal_has_room_for_so_many_tasks(path: Path) -> None:
    async def scenario(here: Process) -> None:
        terms = dataclasses.replace(TERMS, max_unfinished=1)
        record = await here.task(at_rest, terms)
        with pytest.raises(NoRoomError):
            await here.begin(says_hi, terms=terms)
        await here.begin(says_hi, terms=terms, principal=BOB)
        await cancel(here, record)
        await here.end_of(await here.task(says_hi, terms))

    run(path, scenario)


# --- questions -----------------------------------------------------------------------------------


def test_a_question_waits_for_its_answer(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(asks("name"))
        asked = await here.until(record, lambda now: now.status is ASKED_INPUT)
        await answer(here, record, {keys(asked)[0]: '"Ada"'})
        over = await here.end_of(record)
        assert over.outcome_json == '{"value":{"name":"\\"Ada\\""}}'

    run(path, scenario)


def test_answers_may_come_one_by_one(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(asks("first", "last"))
        asked = await here.until(record, lambda now: now.status is ASKED_INPUT)
        first, last = keys(asked)
        await answer(here, record, {first: "1", "unknown": "0"})
        partly = await here.seen(record)
        assert (partly.status, keys(partly)) == (ASKED_INPUT, [last])
        await answer(here, record, {first: "7", last: "2"})
        assert (await here.end_of(record)).outcome_json == '{"value":{"first":"1","last":"2"}}'

    run(path, scenario)


def test_a_handler_may_ask_several_things_at_once(path: Path) -> None:
    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            async with asyncio.TaskGroup() as group:
                one = group.create_task(running.ask({"name": "1"}, timeout_seconds=None))
                two = group.create_task(running.ask({"name": "2"}, timeout_seconds=None))
            return [one.result(), two.result()]

        record = await here.task(work)
        asked = await here.until(record, lambda now: len(keys(now)) == 2)
        one, two = keys(asked)
        await answer(here, record, {two: "2"})
        await answer(here, record, {one: "1"})
        assert (await here.end_of(record)).outcome_json == '{"value":[{"name":"1"},{"name":"2"}]}'

    run(path, scenario)


def test_a_question_that_is_not_answered_in_time_is_taken_back(path: Path) -> None:
    async def scenario(here: Process) -> None:
        async def work(running: RunningTask) -> object:
            with pytest.raises(TimeoutError):
                await running.ask({"name": "1"}, timeout_seconds=0.01)
            await at_rest(running)
            return None

        record = await here.task(work)
        # Asked, and taken back: two changes after the record was made.
        back = await here.until(record, lambda now: now.version == 3)
        assert (back.status, back.questions, back.asked) == (TaskStatus.WORKING, (), 1)

    run(path, scenario)


def test_more_questions_than_granted_are_refused(path: Path) -> None:
    async def scenario(here: Process) -> None:
        terms = dataclasses.replace(TERMS, max_questions=1)
        over = await here.end_of(await here.task(asks("a", "b"), terms))
        assert over.message == "ValueError: a task may have 1 questions open at once, no more"

    run(path, scenario)


def test_cancelling_a_task_that_asks_cancels_its_handler(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(asks("name"))
        await here.until(record, lambda now: now.status is ASKED_INPUT)
        await cancel(here, record)
        over = await here.seen(record)
        assert (over.status, over.questions) == (TaskStatus.CANCELLED, ())

    run(path, scenario)


# --- other processes -----------------------------------------------------------------------------


def with_another(path: Path, scenario: Callable[[Process, Process], Any]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20), process(path) as here, process(path) as there:
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

    run(path, scenario)


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


def test_a_task_whose_process_is_silent_too_long_has_failed(path: Path) -> None:
    clock = Clock()

    async def main() -> None:
        async with process(path) as here, process(path, clock) as there:
            handler = Watched()
            record = await here.task(handler)
            assert (await there.seen(record)).status is TaskStatus.WORKING
            clock.turn(LEASE_SECONDS)
            lost = await there.seen(record)
            assert (lost.status, lost.outcome_json) == (TaskStatus.FAILED, failure_json(LOST))
            # It was not dead, only silent: it hears of the end, and changes nothing of it.
            await handler.cancelled.wait()
            assert await here.seen(record) == lost

    asyncio.run(main())


# --- shutting down -------------------------------------------------------------------------------


def test_what_runs_at_shutdown_is_failed_and_stopped(path: Path) -> None:
    handler = Watched()
    records: list[TaskRecord] = []

    async def scenario(here: Process) -> None:
        records.append(await here.task(handler))
        await handler.begun.wait()

    run(path, scenario)
    assert handler.cancelled.is_set()

    async def look(here: Process) -> None:
        over = await here.seen(records[0])
        assert (over.status, over.outcome_json) == (TaskStatus.FAILED, failure_json(SHUT_DOWN))

    run(path, look)


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

    run(path, scenario)


def test_nothing_begins_during_shutdown(path: Path) -> None:
    async def scenario(here: Process) -> None:
        await here.runner.drain()
        with pytest.raises(ClosingError):
            await here.begin(says_hi)

    run(path, scenario)


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
