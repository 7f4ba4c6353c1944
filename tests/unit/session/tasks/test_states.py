"""The table of a task's life: which event leads where, and what is final."""

import pytest

from linkspan_session.store.tasks import FINISHED, TaskStatus
from linkspan_session.tasks.states import TRANSITIONS, TaskEvent, next_status


@pytest.mark.parametrize("status", sorted(FINISHED))
@pytest.mark.parametrize("event", list(TaskEvent))
def test_nothing_happens_to_a_task_that_has_ended(status: TaskStatus, event: TaskEvent) -> None:
    assert next_status(status, event) is None


@pytest.mark.parametrize("status", [TaskStatus.WORKING, TaskStatus.INPUT_REQUIRED])
@pytest.mark.parametrize(
    ("event", "ends_as"),
    [
        (TaskEvent.COMPLETED, TaskStatus.COMPLETED),
        (TaskEvent.FAILED, TaskStatus.FAILED),
        (TaskEvent.CANCELLED, TaskStatus.CANCELLED),
    ],
)
def test_a_task_can_end_at_any_time(
    status: TaskStatus, event: TaskEvent, ends_as: TaskStatus
) -> None:
    assert next_status(status, event) is ends_as


def test_input_is_required_from_the_first_question_to_the_last_answer() -> None:
    status: TaskStatus | None = TaskStatus.WORKING
    events = (TaskEvent.ASKED, TaskEvent.ASKED, TaskEvent.FEWER_OPEN, TaskEvent.NONE_OPEN)
    seen: list[TaskStatus | None] = []
    for event in events:
        assert status is not None
        status = next_status(status, event)
        seen.append(status)
    required = TaskStatus.INPUT_REQUIRED
    assert seen == [required, required, required, TaskStatus.WORKING]


def test_no_answer_is_taken_where_nothing_was_asked() -> None:
    assert next_status(TaskStatus.WORKING, TaskEvent.NONE_OPEN) is None
    assert next_status(TaskStatus.WORKING, TaskEvent.FEWER_OPEN) is None


def test_every_state_can_be_reached() -> None:
    assert set(TRANSITIONS.values()) == set(TaskStatus)
