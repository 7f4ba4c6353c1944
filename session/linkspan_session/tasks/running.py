"""One handler that runs as a task, or may become one: what it says, asks and hears.

Above lie `context` (the same with the types of MCP) and `runner`, which owns it; below lies
`ledger`. A handler is *begun* once its task is on record; until then it belongs to the request that
called it and goes away with it. Lives on the event loop only.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import anyio
import anyio.lowlevel

from linkspan_session.store import Principal
from linkspan_session.store.tasks import TaskRecord
from linkspan_session.tasks.changes import asked, dropped, noted, question_keys
from linkspan_session.tasks.errors import TaskEndedError, UnknownTaskError
from linkspan_session.tasks.ledger import TaskLedger, TaskTerms

_FORGET_SECONDS = 2.0
"""How long a cancelled question may take to be taken back."""


class RunningTask:
    """A handler at work."""

    def __init__(
        self,
        ledger: TaskLedger,
        tool: str,
        principal: Principal,
        terms: TaskTerms,
        begin: "Callable[[RunningTask], Awaitable[TaskRecord]]",
    ) -> None:
        """Make one; `runner` runs it.

        Args:
            ledger: Where its task will be on record.
            tool: What it runs.
            principal: On whose behalf.
            terms: What it is granted.
            begin: Puts its task on record.
        """
        self.tool = tool
        self.principal = principal
        self.terms = terms
        self.scope = anyio.CancelScope()
        self.created: TaskRecord | None = None
        """The task as it was created; None before that."""
        self.seen_version = 0
        """The version of the record that the handler last heard of."""
        self._ledger = ledger
        self._begin = begin
        self._beginning = asyncio.Lock()
        self._changed = asyncio.Event()

    async def begin(self) -> None:
        """Put the task on record, once: from here on it outlives its request.

        Raises:
            NoRoomError: The principal has as many tasks as it may have.
            ClosingError: The process is shutting down.
            StoreUnavailableError: The store does not answer.
        """
        async with self._beginning:
            if self.created is None:
                # A task that is on record without anybody running it would look alive.
                with anyio.CancelScope(shield=True):
                    self.created = await self._begin(self)

    def poke(self) -> None:
        """Say that the record has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def note(self, message: str) -> None:
        """Put on record what the task says of itself; its first 1024 characters.

        Raises:
            TaskEndedError: The task has ended.
            StoreUnavailableError: The store does not answer.
        """
        await self._change(lambda record, now: noted(record, message, now))

    async def ask(
        self, questions: Mapping[str, str], *, timeout_seconds: float | None
    ) -> dict[str, str]:
        """Ask the client and wait for all of its answers; both as JSON, by the caller's names.

        Cancelling it takes the questions back.

        Args:
            questions: What to ask.
            timeout_seconds: How long to wait; None waits as long as the task may run.

        Raises:
            TimeoutError: The client did not answer in time; the questions are taken back.
            TaskEndedError: The task has ended.
            ValueError: More questions would be open than the task is granted.
            StoreUnavailableError: The store does not answer.
        """
        keys: dict[str, str] = {}
        most = self.terms.max_questions

        def ask(record: TaskRecord, now: int) -> TaskRecord | None:
            if len(record.questions) + len(questions) > most:
                raise ValueError(f"a task may have {most} questions open at once, no more")
            keys.update(question_keys(record, questions))
            return asked(record, questions, now)

        await self._change(ask)
        try:
            with anyio.fail_after(timeout_seconds):
                answers = await self._answers(set(keys.values()))
        finally:
            with anyio.move_on_after(_FORGET_SECONDS, shield=True):
                await self._forget(set(keys.values()))
        return {name: answers[key] for name, key in keys.items()}

    async def _answers(self, keys: set[str]) -> dict[str, str]:
        while True:
            changed = self._changed  # taken before the look, so that nothing is missed in between
            record = await self._change(lambda _record, _now: None)
            answers = {
                each.key: each.answer_json
                for each in record.questions
                if each.key in keys and each.answer_json is not None
            }
            if answers.keys() == keys:
                return answers
            await changed.wait()

    async def _forget(self, keys: set[str]) -> None:
        with suppress(TaskEndedError):  # what it asked was forgotten with it
            await self._change(lambda record, now: dropped(record, keys, now))

    async def _change(self, change: Callable[[TaskRecord, int], TaskRecord | None]) -> TaskRecord:
        if self.created is None:
            raise TaskEndedError
        try:
            record = await self._ledger.change(self.created.task_id, change)
        except UnknownTaskError:
            raise TaskEndedError from None
        if record.finished:
            # The cancellation is on its way, but need not be here yet: see to it that it is.
            self.scope.cancel()
            await anyio.lowlevel.checkpoint()
            raise TaskEndedError
        return record
