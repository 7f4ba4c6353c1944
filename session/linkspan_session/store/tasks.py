"""What a task store holds and promises; every implementation passes the same test suite.

Nothing here knows MCP: requests, answers and outcomes are kept as the JSON text they came in. The
store decides nothing either: a change is read, decided elsewhere (`linkspan_session.tasks`), and
written back only if nobody else has written in between.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType, Protocol

from linkspan_session.store.base import Principal
from linkspan_session.store.nodes import NodeId

TaskId = NewType("TaskId", str)


class TaskStatus(StrEnum):
    """Where in its life a task is, in the words of SEP-2663."""

    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})
"""The states that a task never leaves."""


@dataclass(frozen=True, slots=True)
class TaskQuestion:
    """A request that a task has put to its client.

    Attributes:
        key: Its name, never used again in the same task.
        request_json: The request, as JSON.
        answer_json: What the client answered, as JSON; None while it is outstanding.
    """

    key: str
    request_json: str
    answer_json: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task at rest.

    Attributes:
        task_id: Its identifier, unique in the store and not to be guessed.
        principal: Whom it belongs to; never changes.
        tool: The tool that it runs.
        runner: The session server that runs it; never changes.
        status: Where in its life it is.
        message: What it last said of itself, for people; None if nothing.
        questions: What it asked and has not taken the answer of, oldest first.
        asked: How many questions it has asked so far.
        outcome_json: The result or the error that it ended with, as JSON; None before that, and if
            it was cancelled.
        created_millis: When it was created, in milliseconds since the Unix epoch.
        updated_millis: When it last changed, in milliseconds since the Unix epoch.
        expires_millis: From when on there is no such task, in milliseconds since the Unix epoch.
        poll_interval_millis: How long a client should wait between two looks, in milliseconds.
        version: Counts the changes on record, from 1.
    """

    task_id: TaskId
    principal: Principal
    tool: str
    runner: NodeId
    status: TaskStatus
    message: str | None
    questions: tuple[TaskQuestion, ...]
    asked: int
    outcome_json: str | None
    created_millis: int
    updated_millis: int
    expires_millis: int
    poll_interval_millis: int
    version: int = 1

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self.status in FINISHED

    @property
    def outstanding(self) -> tuple[TaskQuestion, ...]:
        """The questions that wait for an answer."""
        return tuple(each for each in self.questions if each.answer_json is None)


class TaskStore(Protocol):
    """Keeps task records.

    Every method is one atomic commit, durable when it returns, may raise `StoreUnavailableError`,
    and then has changed nothing. Cancelling a method leaves it open whether its commit happened.
    A record whose time is over is as gone as one that never was, and may be removed at any time.
    """

    async def create(self, record: TaskRecord, *, max_unfinished: int, max_kept: int) -> bool:
        """Add a record; its id is new.

        Args:
            record: What to add, of version 1.
            max_unfinished: How many tasks of its principal may run at once, this one included.
            max_kept: How many of its principal may be on record, this one included.

        Returns:
            Whether there was room for it.
        """
        ...

    async def get(self, task_id: TaskId, now_millis: int) -> TaskRecord | None:
        """Return a record, or None if there is none or its time is over.

        Raises:
            RecordTooNewError: A newer version of Linkspan wrote the record.
        """
        ...

    async def replace(self, record: TaskRecord) -> bool:
        """Write a changed record, whose `version` is that of the record it was made from.

        The record then has the next version.

        Returns:
            Whether it was written: False if it was changed in between, or is gone.
        """
        ...

    async def unfinished(self, runner: NodeId) -> dict[TaskId, int]:
        """Return the versions of the tasks that a session server runs, by id."""
        ...
