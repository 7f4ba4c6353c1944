"""The tasks that this process runs: begun, watched, stopped, and ended on record.

Above lies `extension`, which knows the MCP SDK; below lie `running` and `ledger`. What another
process does to a task (an answer, a cancellation) is found on record by one watch for all tasks.
Invariants: every handler is a task of the host's group; whatever becomes of a handler, its task is
ended on record; an end that is on record is never changed by how the handler takes it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import anyio
from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode

from linkspan_contract.envelope import INTERNAL_ERROR, REQUEST_TIMEOUT
from linkspan_session.answers import Answer, Failed
from linkspan_session.auditing import audit
from linkspan_session.errors import SessionError, StoreUnavailableError
from linkspan_session.store import Principal
from linkspan_session.store.tasks import TaskId, TaskRecord, TaskStatus
from linkspan_session.tasks.errors import ClosingError, UnknownTaskError
from linkspan_session.tasks.ledger import TaskLedger, TaskTerms
from linkspan_session.tasks.outcomes import written
from linkspan_session.tasks.running import RunningTask
from linkspan_session.tasks.states import TaskEvent

logger = logging.getLogger(__name__)
_tracer: Final = trace.get_tracer("linkspan.session")

T = TypeVar("T")

WATCH_SECONDS: Final = 0.25
"""How late a running task may hear of what another process did to it, in seconds."""

TIMED_OUT: Final = Failed(REQUEST_TIMEOUT, "The task ran longer than it may")
"""How a task ends that is over its time."""

SHUT_DOWN: Final = Failed(INTERNAL_ERROR, "The server shut down before the task had ended")
"""How the tasks of a process end that is told to stop."""

_RETRY_SECONDS: Final = 1.0
"""How long to wait before an end is put on record anew, in seconds."""

_DRAIN_SECONDS: Final = 5.0
"""How long the handlers may take to end once they are cancelled, in seconds."""


class Job(Generic[T]):
    """What a task does: a handler, and how to read what it returns or raises."""

    def __init__(
        self,
        run: Callable[[RunningTask], Awaitable[T]],
        *,
        answer: Callable[[T], Answer],
        explain: Callable[[BaseException], Failed],
    ) -> None:
        """Make a job.

        Args:
            run: The handler.
            answer: Reads what the handler returned, once it is a task.
            explain: Reads what the handler raised, once it is a task.
        """
        self.run = run
        self.answer = answer
        self.explain = explain


class TaskRunner:
    """Runs tasks. Make one for a process; call `drain` before its task group, or its lease, ends."""

    def __init__(self, ledger: TaskLedger, tasks: asyncio.TaskGroup) -> None:
        """Make a runner.

        Args:
            ledger: Where tasks are on record.
            tasks: Owns every handler's task.
        """
        self.ledger: Final = ledger
        self._tasks = tasks
        self._running: dict[TaskId, RunningTask] = {}
        self._handlers: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._closing = False

    async def run(
        self, job: Job[T], tool: str, principal: Principal, terms: TaskTerms, *, at_once: bool
    ) -> TaskRecord | T:
        """Run a handler in a task of its own and return as soon as it is on record, or has ended.

        The handler inherits the caller's context, so its spans nest below the caller's. Cancelling
        this before it returned cancels the handler, too: nobody would ever hear of its task.

        Args:
            job: The handler.
            tool: What it is called.
            principal: On whose behalf.
            terms: What a task is granted.
            at_once: Whether the handler is a task from the start, or becomes one when it says so.

        Returns:
            The new task's record, or what the handler returned without having become a task.

        Raises:
            NoRoomError: The principal has as many tasks as it may have.
            ClosingError: The process is shutting down.
            StoreUnavailableError: The store does not answer.
        """
        first: asyncio.Future[TaskRecord | T] = asyncio.get_running_loop().create_future()

        async def begin(running: RunningTask) -> TaskRecord:
            record = await self._begin(running)
            if not first.done():
                first.set_result(record)
            return record

        running = RunningTask(self.ledger, tool, principal, terms, begin)
        handler = self._tasks.create_task(self._drive(running, job, first, at_once=at_once))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        try:
            return await asyncio.shield(first)
        except asyncio.CancelledError:
            first.cancel()
            running.scope.cancel()
            raise

    def poke(self, task_id: TaskId) -> None:
        """Say that a task was changed on record, so that it need not wait for the watch."""
        running = self._running.get(task_id)
        if running is not None:
            running.poke()

    def stop(self, task_id: TaskId) -> None:
        """Cancel the handler of a task that has ended on record, if it runs here."""
        running = self._running.get(task_id)
        if running is not None:
            running.scope.cancel()

    async def drain(self) -> None:
        """Begin no more tasks; end those that run, on record first; bounded."""
        self._closing = True
        if self._watch is not None:
            self._watch.cancel()
        for task_id, running in list(self._running.items()):
            try:
                await self.ledger.end(task_id, TaskEvent.FAILED, SHUT_DOWN)
            except (UnknownTaskError, StoreUnavailableError) as error:
                logger.warning("a task cannot be ended on record: %s", error)
            running.scope.cancel()
        if self._handlers:
            _, stubborn = await asyncio.wait(self._handlers, timeout=_DRAIN_SECONDS)
            if stubborn:
                logger.warning("%d tasks do not heed their cancellation", len(stubborn))

    # --- one handler -----------------------------------------------------------------------------

    async def _begin(self, running: RunningTask) -> TaskRecord:
        if self._closing:
            raise ClosingError
        record = await self.ledger.create(running.tool, running.principal, running.terms)
        running.seen_version = record.version
        running.scope.deadline = anyio.current_time() + running.terms.run_seconds
        self._running[record.task_id] = running
        if self._watch is None:
            self._watch = self._tasks.create_task(self._watching())
        return record

    async def _drive(
        self,
        running: RunningTask,
        job: Job[T],
        first: "asyncio.Future[TaskRecord | T]",
        *,
        at_once: bool,
    ) -> None:
        with _tracer.start_as_current_span(
            f"task {running.tool}",
            attributes={"gen_ai.tool.name": running.tool},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            answer: Answer | None = None  # None: it was cancelled
            try:
                with running.scope:
                    if at_once:
                        await running.begin()
                    value = await job.run(running)
                    if running.created is None:
                        _settle(first, value)
                    else:
                        answer = job.answer(value)
            except asyncio.CancelledError as error:
                if _was_asked_for():
                    raise
                answer = _explained(running, job, first, error)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - it is the task's outcome
                answer = _explained(running, job, first, error)
            if running.created is not None:
                await self._end(running, running.created.task_id, answer, span)

    async def _end(
        self, running: RunningTask, task_id: TaskId, answer: Answer | None, span: Span
    ) -> None:
        """Put the end on record, trying until the task would have expired."""
        event, outcome = (
            self._end_of_cancelled(running)
            if answer is None
            else written(answer, running.terms.max_outcome_bytes)
        )
        give_up_at = anyio.current_time() + running.terms.run_seconds + running.terms.keep_seconds
        try:
            while True:
                try:
                    record = await self.ledger.end(task_id, event, outcome)
                except StoreUnavailableError:
                    if self._closing or anyio.current_time() > give_up_at:
                        logger.error("the end of a task could not be put on record")  # noqa: TRY400
                        return
                    await asyncio.sleep(_RETRY_SECONDS)
                else:
                    span.set_attribute("linkspan.task.status", record.status)
                    if audit.trail is not None:
                        audit.task_ended(running.tool, record)
                    if record.status is TaskStatus.FAILED:
                        span.set_status(StatusCode.ERROR)
                    return
        except (UnknownTaskError, SessionError):
            logger.warning("a task of %s is gone from the record", running.tool)
        finally:
            del self._running[task_id]

    def _end_of_cancelled(self, running: RunningTask) -> tuple[TaskEvent, Failed | None]:
        if self._closing:
            return TaskEvent.FAILED, SHUT_DOWN
        if anyio.current_time() >= running.scope.deadline:
            return TaskEvent.FAILED, TIMED_OUT
        return TaskEvent.CANCELLED, None

    # --- all of them -----------------------------------------------------------------------------

    async def _watching(self) -> None:
        """Hear what others did to the tasks that run here."""
        blind = False
        while self._running:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self._look()
                blind = False
            except StoreUnavailableError:
                if not blind:
                    logger.warning("the tasks that run here cannot be watched; trying on")
                blind = True
        self._watch = None

    async def _look(self) -> None:
        running_before = dict(self._running)
        versions = await self.ledger.unfinished()
        for task_id, running in running_before.items():
            version = versions.get(task_id)
            if version is None:  # it was ended by somebody else
                running.scope.cancel()
            elif version != running.seen_version:
                running.seen_version = version
                running.poke()


def _explained(
    running: RunningTask,
    job: Job[T],
    first: "asyncio.Future[TaskRecord | T]",
    error: BaseException,
) -> Answer | None:
    """Read what a handler raised; before it is a task, its request gets it as it is."""
    if running.created is not None:
        return job.explain(error)
    if not first.done():
        first.set_exception(error)
    return None


def _settle(first: "asyncio.Future[TaskRecord | T]", value: T) -> None:
    if not first.done():
        first.set_result(value)


def _was_asked_for() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
