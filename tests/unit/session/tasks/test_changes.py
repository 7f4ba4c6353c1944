"""What becomes of a record: questions and answers, messages, and the end of it all."""

import dataclasses

import pytest
from tests.support.tasks import RECORD, START_MILLIS

from linkspan_session.store.tasks import TaskRecord, TaskStatus
from linkspan_session.tasks.changes import (
    MAX_MESSAGE_CHARACTERS,
    answered,
    asked,
    dropped,
    ended,
    noted,
    question_keys,
)
from linkspan_session.tasks.states import TaskEvent

LATER = START_MILLIS + 1000


def sure(record: TaskRecord | None) -> TaskRecord:
    assert record is not None
    return record


def asking(*names: str, of: TaskRecord = RECORD) -> TaskRecord:
    return sure(asked(of, {name: f'"{name}?"' for name in names}, LATER))


def keys(record: TaskRecord) -> list[str]:
    return [each.key for each in record.outstanding]


def test_a_message_is_kept_and_cut_at_its_limit() -> None:
    record = sure(noted(RECORD, "x" * 5000, LATER))
    assert record.message == "x" * MAX_MESSAGE_CHARACTERS
    assert (record.status, record.updated_millis) == (TaskStatus.WORKING, LATER)


def test_a_question_requires_input() -> None:
    record = asking("name")
    assert record.status is TaskStatus.INPUT_REQUIRED
    assert keys(record) == list(question_keys(RECORD, ["name"]).values()) == ["1-name"]


def test_a_key_is_never_used_again() -> None:
    once = asking("name")
    over = sure(dropped(once, keys(once), LATER))
    assert keys(asking("name", "name2", of=over)) == ["2-name", "3-name2"]


def test_the_task_works_on_once_every_question_is_answered() -> None:
    record = asking("first", "last")
    partly = sure(answered(record, {"1-first": '"Ada"'}, LATER))
    assert (partly.status, keys(partly)) == (TaskStatus.INPUT_REQUIRED, ["2-last"])
    wholly = sure(answered(partly, {"2-last": '"Lovelace"'}, LATER))
    assert (wholly.status, keys(wholly)) == (TaskStatus.WORKING, [])
    assert [each.answer_json for each in wholly.questions] == ['"Ada"', '"Lovelace"']


@pytest.mark.parametrize("key", ["2-name", "name", ""])
def test_an_answer_to_nothing_changes_nothing(key: str) -> None:
    assert answered(asking("name"), {key: '"Ada"'}, LATER) is None


def test_the_first_answer_counts() -> None:
    record = sure(answered(asking("a", "b"), {"1-a": "1"}, LATER))
    assert answered(record, {"1-a": "2"}, LATER) is None


def test_taking_an_answer_leaves_the_other_questions_open() -> None:
    record = sure(answered(asking("a", "b"), {"1-a": "1"}, LATER))
    taken = sure(dropped(record, {"1-a"}, LATER))
    assert (taken.status, keys(taken)) == (TaskStatus.INPUT_REQUIRED, ["2-b"])


def test_a_question_taken_back_lets_the_task_work_on() -> None:
    assert sure(dropped(asking("a"), {"1-a"}, LATER)).status is TaskStatus.WORKING


def test_dropping_what_is_not_there_changes_nothing() -> None:
    assert dropped(RECORD, {"1-a"}, LATER) is None


def test_the_end_forgets_questions_and_answers() -> None:
    record = sure(answered(asking("a", "b"), {"1-a": '"secret"'}, LATER))
    over = sure(ended(record, TaskEvent.CANCELLED, LATER))
    assert (over.status, over.questions, over.outcome_json) == (TaskStatus.CANCELLED, (), None)


def test_the_last_message_stays_unless_the_end_has_one() -> None:
    record = sure(noted(RECORD, "half way", LATER))
    done = sure(ended(record, TaskEvent.COMPLETED, LATER, outcome_json="{}"))
    broken = sure(ended(record, TaskEvent.FAILED, LATER, outcome_json="{}", message="broke"))
    assert (done.message, broken.message) == ("half way", "broke")


def test_nothing_changes_a_task_that_has_ended() -> None:
    over = sure(ended(RECORD, TaskEvent.COMPLETED, LATER, outcome_json="{}"))
    assert noted(over, "hello", LATER) is None
    assert asked(over, {"a": "1"}, LATER) is None
    assert answered(over, {"1-a": "1"}, LATER) is None
    assert ended(over, TaskEvent.CANCELLED, LATER) is None


def test_a_clock_that_goes_back_does_not_turn_the_record_back() -> None:
    record = dataclasses.replace(RECORD, updated_millis=LATER)
    assert sure(noted(record, "hello", START_MILLIS)).updated_millis == LATER
