"""What becomes of a task's record when something happens to it.

Pure: each function takes a record and returns the changed one, or None if nothing changes, be it
because the task has ended or because there is nothing to do. `states` says what may happen when;
`ledger` puts the outcome on record.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from linkspan_session.store.tasks import TaskQuestion, TaskRecord
from linkspan_session.tasks.states import TaskEvent, next_status

MAX_MESSAGE_CHARACTERS: Final = 1024
"""How much of what a task says of itself is kept, in characters."""


def noted(record: TaskRecord, message: str, now_millis: int) -> TaskRecord | None:
    """Let the task say something of itself."""
    return _after(record, TaskEvent.NOTED, now_millis, message=message)


def asked(record: TaskRecord, questions: Mapping[str, str], now_millis: int) -> TaskRecord | None:
    """Add questions, given as JSON by name, under keys that the task has not used before.

    The keys are `question_keys` of the record.
    """
    keys = question_keys(record, questions)
    added = tuple(TaskQuestion(keys[name], text) for name, text in questions.items())
    return _after(
        record,
        TaskEvent.ASKED,
        now_millis,
        questions=record.questions + added,
        asked=record.asked + len(added),
    )


def question_keys(record: TaskRecord, names: Collection[str]) -> dict[str, str]:
    """Return the keys that `asked` gives to questions of these names.

    SEP-2663, "Task Update Requests": a key must be unique over the lifetime of a task.
    """
    return {name: f"{record.asked + place}-{name}" for place, name in enumerate(names, start=1)}


def answered(record: TaskRecord, answers: Mapping[str, str], now_millis: int) -> TaskRecord | None:
    """Add a client's answers, given as JSON by key.

    SEP-2663, "Task Update Requests": an answer to what is not outstanding is ignored.
    """
    given = {each.key: answers[each.key] for each in record.outstanding if each.key in answers}
    if not given:
        return None
    questions = tuple(
        replace(each, answer_json=given.get(each.key, each.answer_json))
        for each in record.questions
    )
    return _with_questions(record, questions, now_millis)


def dropped(record: TaskRecord, keys: Collection[str], now_millis: int) -> TaskRecord | None:
    """Forget questions: their answers have been taken, or nobody waits for them any more."""
    questions = tuple(each for each in record.questions if each.key not in keys)
    if len(questions) == len(record.questions):
        return None
    return _with_questions(record, questions, now_millis)


def ended(
    record: TaskRecord,
    event: TaskEvent,
    now_millis: int,
    *,
    outcome_json: str | None = None,
    message: str | None = None,
) -> TaskRecord | None:
    """End the task. What it asked is forgotten, answers included.

    Args:
        record: The task.
        event: How it ends: `COMPLETED`, `FAILED` or `CANCELLED`.
        now_millis: The time, in milliseconds since the Unix epoch.
        outcome_json: Its result or its error, as JSON.
        message: What to say of the end; None leaves what the task said last.
    """
    return _after(
        record,
        event,
        now_millis,
        questions=(),
        outcome_json=outcome_json,
        message=message,
    )


def _with_questions(
    record: TaskRecord, questions: tuple[TaskQuestion, ...], now_millis: int
) -> TaskRecord | None:
    """Set the questions, and let the state follow from how many of them are open."""
    open_before = len(record.outstanding)
    open_now = sum(each.answer_json is None for each in questions)
    if open_now == open_before:
        event = TaskEvent.NOTED
    else:
        event = TaskEvent.FEWER_OPEN if open_now else TaskEvent.NONE_OPEN
    return _after(record, event, now_millis, questions=questions)


def _after(
    record: TaskRecord,
    event: TaskEvent,
    now_millis: int,
    *,
    questions: tuple[TaskQuestion, ...] | None = None,
    asked: int | None = None,
    outcome_json: str | None = None,
    message: str | None = None,
) -> TaskRecord | None:
    status = next_status(record.status, event)
    if status is None:
        return None
    return replace(
        record,
        status=status,
        message=record.message if message is None else message[:MAX_MESSAGE_CHARACTERS],
        questions=record.questions if questions is None else questions,
        asked=record.asked if asked is None else asked,
        outcome_json=outcome_json,
        updated_millis=max(now_millis, record.updated_millis),
    )
