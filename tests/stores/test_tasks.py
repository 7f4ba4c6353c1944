"""What every store promises of tasks."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.stores import scenarios
from tests.stores.backends import NEWER, OLDEST, Backend
from tests.support.tasks import ADA, BOB, RECORD, START_MILLIS

from linkspan_session.errors import RecordTooNewError
from linkspan_session.store import NodeId, Principal, Store
from linkspan_session.store.tasks import TaskId, TaskQuestion, TaskRecord, TaskStatus, TaskStore

NOW = START_MILLIS
PLENTY = 1000

QUESTIONS = (
    TaskQuestion("1-é", '{"method":"elicitation/create"}', '{"action":"accept"}'),
    TaskQuestion("2-b", "{}"),
)


def run(backend: Backend, scenario: Callable[[TaskStore], Coroutine[Any, Any, None]]) -> None:
    async def with_tasks(store: Store) -> None:
        await scenario(store.tasks)

    scenarios.run(backend, with_tasks)


async def create(
    store: TaskStore, record: TaskRecord, *, max_unfinished: int = PLENTY, max_kept: int = PLENTY
) -> bool:
    return await store.create(record, max_unfinished=max_unfinished, max_kept=max_kept)


def named(task_id: str, **changes: Any) -> TaskRecord:
    return dataclasses.replace(RECORD, task_id=TaskId(task_id), **changes)


@pytest.mark.parametrize("principal", [ADA, Principal(), Principal("", "ünïcode 😀", "'\"; --")])
@pytest.mark.parametrize("status", list(TaskStatus))
def test_a_record_is_read_as_it_was_created(
    backend: Backend, principal: Principal, status: TaskStatus
) -> None:
    async def scenario(store: TaskStore) -> None:
        wanted = named(
            "a",
            principal=principal,
            status=status,
            message="half way 😀",
            questions=QUESTIONS,
            asked=2,
            outcome_json='{"é":1}',
        )
        assert await create(store, wanted)
        assert await store.get(TaskId("a"), NOW) == wanted

    run(backend, scenario)


def test_what_was_never_created_is_none(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a"))
        for other in ("b", "", "A", "a ", "a' OR '1'='1"):
            assert await store.get(TaskId(other), NOW) is None

    run(backend, scenario)


def test_a_record_is_there_until_its_time_is_over(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a", expires_millis=NOW + 10))
        assert await store.get(TaskId("a"), NOW + 9) is not None
        assert await store.get(TaskId("a"), NOW + 10) is None

    run(backend, scenario)


def test_a_change_is_written_and_counted(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a"))
        wanted = named(
            "a",
            status=TaskStatus.FAILED,
            message="broke",
            questions=QUESTIONS,
            asked=2,
            outcome_json="{}",
            updated_millis=NOW + 5,
        )
        assert await store.replace(wanted)
        assert await store.get(TaskId("a"), NOW) == dataclasses.replace(wanted, version=2)

    run(backend, scenario)


def test_of_changes_of_the_same_version_one_is_written(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        assert await create(one.tasks, named("a"))
        written = await asyncio.gather(
            *(
                store.tasks.replace(named("a", message=f"number {number}"))
                for number, store in enumerate([one, other] * 4)
            )
        )
        assert sorted(written) == [False] * 7 + [True]
        record = await other.tasks.get(TaskId("a"), NOW)
        assert record is not None
        assert (record.version, record.message) == (2, f"number {written.index(True)}")

    scenarios.run_twice(backend, scenario)


def test_a_change_of_what_is_gone_is_not_written(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert not await store.replace(named("a"))
        assert await store.get(TaskId("a"), NOW) is None

    run(backend, scenario)


def test_each_principal_has_its_own_room(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        for number in range(3):
            assert await create(store, named(f"ada-{number}"), max_unfinished=3)
        assert not await create(store, named("ada-3"), max_unfinished=3)
        assert await store.get(TaskId("ada-3"), NOW) is None
        assert await create(store, named("bob-0", principal=BOB), max_unfinished=3)

    run(backend, scenario)


def test_what_has_ended_takes_room_on_record_only(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a", status=TaskStatus.COMPLETED))
        assert await create(store, named("b"), max_unfinished=1, max_kept=2)
        assert not await create(store, named("c"), max_unfinished=3, max_kept=2)

    run(backend, scenario)


def test_what_has_expired_takes_no_room(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, named("a", expires_millis=NOW))
        assert await create(store, named("b"), max_unfinished=1, max_kept=1)

    run(backend, scenario)


def test_room_for_one_more_is_given_once(backend: Backend) -> None:
    async def scenario(one: Store, other: Store) -> None:
        made = await asyncio.gather(
            *(
                create(store.tasks, named(f"task-{number}"), max_unfinished=3)
                for number, store in enumerate([one, other] * 4)
            )
        )
        assert sorted(made) == [False] * 5 + [True] * 3

    scenarios.run_twice(backend, scenario)


def test_the_unfinished_tasks_of_a_process_are_found(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        other = NodeId("runner-2")
        assert await create(store, named("a"))
        assert await create(store, named("b", status=TaskStatus.INPUT_REQUIRED))
        assert await create(store, named("c", status=TaskStatus.CANCELLED))
        assert await create(store, named("d", runner=other))
        assert await store.replace(named("b", status=TaskStatus.WORKING))
        assert await store.unfinished(RECORD.runner) == {TaskId("a"): 1, TaskId("b"): 2}
        assert await store.unfinished(other) == {TaskId("d"): 1}
        assert await store.unfinished(NodeId("nobody")) == {}

    run(backend, scenario)


def test_a_task_is_there_after_a_restart(backend: Backend) -> None:
    async def before(store: TaskStore) -> None:
        assert await create(store, RECORD)

    async def after(store: TaskStore) -> None:
        assert await store.get(RECORD.task_id, NOW) == RECORD
        assert await store.unfinished(RECORD.runner) == {RECORD.task_id: 1}

    run(backend, before)
    run(backend, after)


def test_a_record_of_a_newer_version_is_refused(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, RECORD)
        backend.set_task_version(RECORD.task_id, NEWER)
        with pytest.raises(RecordTooNewError):
            await store.get(RECORD.task_id, NOW)

    run(backend, scenario)


def test_a_record_of_the_oldest_version_is_read(backend: Backend) -> None:
    async def scenario(store: TaskStore) -> None:
        assert await create(store, RECORD)
        backend.set_task_version(RECORD.task_id, OLDEST)
        assert await store.get(RECORD.task_id, NOW) == RECORD
        assert await store.replace(RECORD)

    run(backend, scenario)
