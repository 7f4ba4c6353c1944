"""What the tests of tasks share: a record, a clock to turn, and runners on one file."""

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from linkspan_session.answers import Failed, Result
from linkspan_session.store import NodeId, Principal
from linkspan_session.store.sqlite import SqliteStore
from linkspan_session.store.tasks import TaskId, TaskRecord, TaskStatus
from linkspan_session.tasks.ledger import TaskLedger, TaskTerms
from linkspan_session.tasks.runner import Job, TaskRunner
from linkspan_session.tasks.running import RunningTask

ADA = Principal("https://issuer.example", "ada", "https://mcp.example")
BOB = Principal("https://issuer.example", "bob", "https://mcp.example")

Work = Callable[[RunningTask], Awaitable[object]]
"""A handler; what it returns is the result, unless it is a `Failed`."""

START_MILLIS = 1_800_000_000_000
"""A day that is not over."""

TERMS = TaskTerms(run_seconds=60, keep_seconds=60)

RECORD = TaskRecord(
    task_id=TaskId("task-1"),
    principal=ADA,
    tool="dig",
    runner=NodeId("127.0.0.1:1#runner-1"),
    status=TaskStatus.WORKING,
    message=None,
    questions=(),
    asked=0,
    outcome_json=None,
    created_millis=START_MILLIS,
    updated_millis=START_MILLIS,
    expires_millis=START_MILLIS + 60_000,
    poll_interval_millis=500,
)


@dataclasses.dataclass
class Clock:
    """A wall clock that stands still until it is turned."""

    millis: int = START_MILLIS

    def __call__(self) -> int:
        return self.millis

    def turn(self, seconds: float) -> None:
        self.millis += round(seconds * 1000)


class Process:
    """As much of a session server process as tasks need."""

    def __init__(self, store: SqliteStore, group: asyncio.TaskGroup, clock: Clock) -> None:
        self.store = store
        node = NodeId(f"127.0.0.1:1#{uuid.uuid4()}")
        self.ledger = TaskLedger(store.tasks, store.nodes, node, now_millis=clock)
        self.runner = TaskRunner(self.ledger, group)

    async def hold_lease(self, seconds: float = 3600) -> None:
        """Say that the process is alive, for so long."""
        await self.store.nodes.hold(self.ledger.runner, lease_seconds=seconds, live_sessions=0)

    async def begin(
        self,
        work: Work,
        *,
        terms: TaskTerms = TERMS,
        at_once: bool = True,
        principal: Principal = ADA,
    ) -> TaskRecord | object:
        """Run `work`, and return its task or, if it never became one, what it returned."""
        return await self.runner.run(job(work), "dig", principal, terms, at_once=at_once)

    async def task(self, work: Work, terms: TaskTerms = TERMS) -> TaskRecord:
        """Run `work` as a task from the start."""
        record = await self.begin(work, terms=terms)
        assert isinstance(record, TaskRecord)
        return record

    async def seen(self, record: TaskRecord) -> TaskRecord:
        """Return the task as its client sees it now."""
        return await self.ledger.find(record.task_id, record.principal)

    async def until(self, record: TaskRecord, wanted: Callable[[TaskRecord], bool]) -> TaskRecord:
        """Look at the task again and again until it is as wanted, bounded."""
        async with asyncio.timeout(30):
            while not wanted(now := await self.seen(record)):
                pass
        return now

    async def end_of(self, record: TaskRecord) -> TaskRecord:
        """Look at the task until it has ended."""
        return await self.until(record, lambda now: now.finished)


def job(work: Work) -> Job[object]:
    def answer(value: object) -> Result | Failed:
        return value if isinstance(value, Failed) else Result({"value": value})

    def explain(error: BaseException) -> Failed:
        return Failed(-32000, f"{type(error).__name__}: {error}")

    return Job(work, answer=answer, explain=explain)


@asynccontextmanager
async def process(path: Path, clock: Clock | None = None) -> AsyncGenerator[Process]:
    """Run a process, with a lease, until the block is left; then drain it."""
    store = await SqliteStore.open(path)
    try:
        async with asyncio.TaskGroup() as group:
            running = Process(store, group, clock or Clock())
            await running.hold_lease()
            try:
                yield running
            finally:
                await running.runner.drain()
        await store.nodes.leave(running.ledger.runner)
    finally:
        await store.close()


Scenario = Callable[[Process], Coroutine[Any, Any, None]]

ASKED_INPUT = TaskStatus.INPUT_REQUIRED


def run_process(path: Path, scenario: Scenario) -> None:
    async def main() -> None:
        async with asyncio.timeout(50), process(path) as here:
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
