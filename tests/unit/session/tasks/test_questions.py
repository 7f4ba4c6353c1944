"""What a task asks its client: waited for, answered in part or in full, taken back."""

import asyncio
import dataclasses
from pathlib import Path

import pytest
from tests.support.tasks import (
    ASKED_INPUT,
    TERMS,
    Process,
    answer,
    asks,
    at_rest,
    cancel,
    keys,
    run_process,
)

from linkspan_session.store.tasks import TaskStatus
from linkspan_session.tasks.running import RunningTask


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


# --- questions -----------------------------------------------------------------------------------


def test_a_question_waits_for_its_answer(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(asks("name"))
        asked = await here.until(record, lambda now: now.status is ASKED_INPUT)
        await answer(here, record, {keys(asked)[0]: '"Ada"'})
        over = await here.end_of(record)
        assert over.outcome_json == '{"value":{"name":"\\"Ada\\""}}'

    run_process(path, scenario)


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

    run_process(path, scenario)


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

    run_process(path, scenario)


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

    run_process(path, scenario)


def test_more_questions_than_granted_are_refused(path: Path) -> None:
    async def scenario(here: Process) -> None:
        terms = dataclasses.replace(TERMS, max_questions=1)
        over = await here.end_of(await here.task(asks("a", "b"), terms))
        assert over.message == "ValueError: a task may have 1 questions open at once, no more"

    run_process(path, scenario)


def test_cancelling_a_task_that_asks_cancels_its_handler(path: Path) -> None:
    async def scenario(here: Process) -> None:
        record = await here.task(asks("name"))
        await here.until(record, lambda now: now.status is ASKED_INPUT)
        await cancel(here, record)
        over = await here.seen(record)
        assert (over.status, over.questions) == (TaskStatus.CANCELLED, ())

    run_process(path, scenario)
