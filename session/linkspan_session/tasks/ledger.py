"""Tasks on record: creating, finding and changing them, whichever process runs them.

Above lie `runner` (the tasks that this process runs) and `running` (one of them); below lie
`changes` (what a change is) and the stores of tasks and of leases. Invariants: what is read is of
the principal that asks; a change is made from what is on record at that moment, or not at all; a
task whose process died is found as failed, never as running.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Final

from linkspan_contract.envelope import INTERNAL_ERROR
from linkspan_session.answers import Failed
from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store import Principal
from linkspan_session.store.nodes import NodeId, NodeRegistry
from linkspan_session.store.tasks import TaskId, TaskRecord, TaskStatus, TaskStore
from linkspan_session.tasks.changes import answered, ended
from linkspan_session.tasks.errors import NoRoomError, UnknownTaskError
from linkspan_session.tasks.outcomes import failure_json
from linkspan_session.tasks.states import TaskEvent

LOST: Final = Failed(INTERNAL_ERROR, "The server process that ran the task ended before it did")
"""How a task ends whose process died: what it was doing cannot be taken up by another one."""

_TASK_ID_BYTES: Final = 24
"""SEP-2663, "Security Considerations": an id must not be guessable."""

_MAX_ATTEMPTS: Final = 50
"""How often a change is tried anew because somebody else was faster."""

Change = Callable[[TaskRecord, int], TaskRecord | None]
"""Makes a changed record out of what is on record and the time; None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class TaskTerms:
    """What a server grants to each of its tasks.

    Attributes:
        run_seconds: How long a task may run.
        keep_seconds: How much longer its outcome can be had, counted from the longest run.
        poll_seconds: How long a client should wait between two looks at it.
        max_unfinished: How many tasks of one principal may run at once.
        max_kept: How many of one principal may be on record.
        max_outcome_bytes: The largest result or error, in bytes of JSON in UTF-8.
        max_questions: How many questions a task may have open at once.

    Raises:
        ValueError: One of them is not positive.
    """

    run_seconds: float = 3600.0
    keep_seconds: float = 3600.0
    poll_seconds: float = 0.5
    max_unfinished: int = 100
    max_kept: int = 1000
    max_outcome_bytes: int = 1024 * 1024
    max_questions: int = 32

    def __post_init__(self) -> None:
        for each in fields(self):
            if not 0 < getattr(self, each.name) < float("inf"):
                raise ValueError(f"{each.name} must be a positive number")


class TaskLedger:
    """The tasks on record, as one process sees and changes them."""

    def __init__(
        self,
        store: TaskStore,
        nodes: NodeRegistry,
        runner: NodeId,
        *,
        now_millis: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Make a ledger.

        Args:
            store: Where tasks are on record.
            nodes: Tells which processes are alive.
            runner: This process. Whoever makes the ledger holds its lease, from before the first
                task until the last one has ended: without it, others take its tasks for lost.
            now_millis: The wall clock, in milliseconds since the Unix epoch. Tasks are dated and
                expire by it.
        """
        self.runner: Final = runner
        self._store = store
        self._nodes = nodes
        self._now_millis = now_millis

    async def create(self, tool: str, principal: Principal, terms: TaskTerms) -> TaskRecord:
        """Put a new task on record, to be run by this process.

        Raises:
            NoRoomError: The principal has as many tasks as it may have.
            StoreUnavailableError: The store does not answer; there is no task.
        """
        now = self._now_millis()
        record = TaskRecord(
            task_id=TaskId(secrets.token_urlsafe(_TASK_ID_BYTES)),
            principal=principal,
            tool=tool,
            runner=self.runner,
            status=TaskStatus.WORKING,
            message=None,
            questions=(),
            asked=0,
            outcome_json=None,
            created_millis=now,
            updated_millis=now,
            expires_millis=now + _millis(terms.run_seconds + terms.keep_seconds),
            poll_interval_millis=_millis(terms.poll_seconds),
        )
        created = await self._store.create(
            record, max_unfinished=terms.max_unfinished, max_kept=terms.max_kept
        )
        if not created:
            raise NoRoomError
        return record

    async def find(self, task_id: TaskId, principal: Principal) -> TaskRecord:
        """Return a principal's task; one whose process died is failed first.

        Raises:
            UnknownTaskError: There is no such task, or it is another principal's.
            StoreUnavailableError: The store does not answer.
        """
        record = await self._store.get(task_id, self._now_millis())
        if record is None or record.principal != principal:
            raise UnknownTaskError
        if record.finished or record.runner == self.runner:
            return record
        if await self._nodes.is_alive(record.runner):
            return record
        return await self.end(task_id, TaskEvent.FAILED, LOST)

    async def answer(
        self, task_id: TaskId, principal: Principal, answers: Mapping[str, str]
    ) -> None:
        """Hand a client's answers, as JSON by key, to a task; raises what `find` raises."""
        await self.find(task_id, principal)
        await self.change(task_id, lambda record, now: answered(record, answers, now))

    async def cancel(self, task_id: TaskId, principal: Principal) -> None:
        """End a task that its client does not want any more; raises what `find` raises.

        One that has ended already stays as it is.
        """
        await self.find(task_id, principal)
        await self.end(task_id, TaskEvent.CANCELLED)

    async def end(
        self, task_id: TaskId, event: TaskEvent, outcome: Failed | str | None = None
    ) -> TaskRecord:
        """End a task, unless it has ended already; returns it as it is then.

        Args:
            task_id: The task.
            event: How it ends.
            outcome: The error, or the result as JSON.

        Raises:
            UnknownTaskError: There is no such task.
            StoreUnavailableError: The store does not answer.
        """
        message = outcome.message if isinstance(outcome, Failed) else None
        text = failure_json(outcome) if isinstance(outcome, Failed) else outcome
        return await self.change(
            task_id,
            lambda record, now: ended(record, event, now, outcome_json=text, message=message),
        )

    async def change(self, task_id: TaskId, change: Change) -> TaskRecord:
        """Change a task on record; returns it as it is then, changed or not.

        Raises:
            UnknownTaskError: There is no such task.
            StoreUnavailableError: The store does not answer, or others were always faster.
        """
        for _ in range(_MAX_ATTEMPTS):
            now = self._now_millis()
            record = await self._store.get(task_id, now)
            if record is None:
                raise UnknownTaskError
            changed = change(record, now)
            if changed is None:
                return record
            if await self._store.replace(changed):
                return replace(changed, version=changed.version + 1)
        raise StoreUnavailableError

    async def unfinished(self) -> dict[TaskId, int]:
        """Return the versions of the tasks that this process runs, by id."""
        return await self._store.unfinished(self.runner)


def _millis(seconds: float) -> int:
    return max(1, round(seconds * 1000))
