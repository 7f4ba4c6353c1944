"""The requests that are running: each is one task, and ends in exactly one answer.

Above lie `live` (the calls of one session) and `host` (the calls without a session). A call's task
has a life of its own, apart from the RPC that brought it, but inherits the RPC's context, so that
its spans nest below the RPC's.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from linkspan_contract.envelope import INTERNAL_ERROR, Request, RequestId
from linkspan_session.answer_streams import AnswerStream
from linkspan_session.answers import TIMED_OUT, Answer, Failed
from linkspan_session.auditing import audit
from linkspan_session.errors import AnswerUnrecordedError, SessionError, StoreUnavailableError
from linkspan_session.events import answer_event
from linkspan_session.kernel import Call
from linkspan_session.storage import StorageLimitError
from linkspan_session.store import Changes

Stopped: TypeAlias = Failed | SessionError
"""How a request ends that is stopped: with an answer, or with a call that fails."""


class Settlement(Protocol):
    """What a request has changed, and what becomes of it."""

    async def changes(self, answer: Answer) -> Changes | None:
        """Return what is to be committed before the answer leaves; None for nothing.

        Runs after the handler. What it raises replaces the answer.
        """
        ...

    def committed(self) -> None:
        """Say that what `changes` returned is on record; called before the answer leaves."""
        ...

    def over(self) -> None:
        """Say that the request has ended; called once, last, however it ended."""
        ...


@dataclass(slots=True, eq=False)
class RunningCall:
    """A request and the task that runs it."""

    request: Request
    call: Call
    stream: AnswerStream
    context: Context = field(default_factory=copy_context)
    """The context that it was started in, and with it its trace."""
    task: asyncio.Task[None] = field(init=False)
    begun: bool = False
    stopped_with: Stopped | None = None
    answered: bool = False

    def stop(self, answer: Stopped) -> None:
        """Cancel the handler and end with `answer`; does nothing if it has ended already."""
        if self.stopped_with is None and not self.answered:
            self.stopped_with = answer
            self.call.cancel_requested.set()
            if self.begun:  # a task cancelled before it began would never get to its answer
                self.task.cancel()


class RunningCalls:
    """The table of what runs, found by request id.

    Two calls may run under one id, since nobody stops a client from reusing one: each has its own
    stream, so their answers do not cross.
    """

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._running: set[RunningCall] = set()

    def __len__(self) -> int:
        return len(self._running)

    def running(self) -> list[RunningCall]:
        """Return what runs."""
        return list(self._running)

    def start(
        self,
        request: Request,
        call: Call,
        stream: AnswerStream,
        answer: Coroutine[Any, Any, Answer],
        *,
        timeout_seconds: float | None,
        settlement: Settlement | None = None,
    ) -> RunningCall:
        """Run `answer` in a task and finish `stream` with what it returns.

        Args:
            request: What was asked.
            call: The handler's context, to tell it of a cancellation.
            stream: Where the answer goes; it always ends, whatever happens.
            answer: The handler's work.
            timeout_seconds: How long the work may take; None for as long as it likes.
            settlement: Keeps what the request has changed.
        """
        running = RunningCall(request, call, stream)
        running.task = self._tasks.create_task(
            self._run(running, answer, timeout_seconds, settlement)
        )
        self._running.add(running)
        return running

    def stop(self, request_id: RequestId, answer: Failed) -> list[RunningCall]:
        """Stop what runs under an id, and return it; an id that nothing runs under is no error."""
        exact = [each for each in self._running if each.request.id == request_id]
        # Clients that write 7 as "7" are known.
        loose = [each for each in self._running if str(each.request.id) == str(request_id)]
        for running in exact or loose:
            running.stop(answer)
        return exact or loose

    def stop_all(self, answer: Stopped) -> None:
        """Stop everything."""
        for running in list(self._running):
            running.stop(answer)

    async def wait(self) -> None:
        """Wait until nothing that runs now is running any more."""
        tasks = [running.task for running in self._running]
        if tasks:
            await asyncio.wait(tasks)

    async def _run(
        self,
        running: RunningCall,
        answer: Coroutine[Any, Any, Answer],
        timeout_seconds: float | None,
        settlement: Settlement | None,
    ) -> None:
        stream = running.stream
        running.begun = True
        outcome: Answer | SessionError | None = None
        try:
            if running.stopped_with is None:
                outcome = await self._outcome(running, answer, timeout_seconds)
            else:
                answer.close()
                outcome = running.stopped_with
            running.answered = True
            if isinstance(outcome, SessionError):
                raise outcome  # noqa: TRY301 - as all that fails
            await self._finish(running, outcome, settlement)
        except StoreUnavailableError:  # passed on as it is, it would promise that nothing was begun
            stream.fail(AnswerUnrecordedError())
        except Exception as error:  # noqa: BLE001 - it must reach the caller, and nobody else
            stream.fail(error)
        finally:
            if audit.trail is not None:
                audit.answered(running.request, outcome)
            if settlement is not None:
                settlement.over()
            self._running.discard(running)
            stream.abort()

    @staticmethod
    async def _finish(running: RunningCall, outcome: Answer, settlement: Settlement | None) -> None:
        if settlement is None:
            await running.stream.finish(answer_event(running.request.id, outcome))
            return
        try:
            changes = await settlement.changes(outcome)
        except StorageLimitError as error:  # others took the room while the handler ran
            outcome, changes = Failed(INTERNAL_ERROR, str(error)), None
        event = answer_event(running.request.id, outcome)
        await running.stream.finish(event, changes, settlement.committed)

    @staticmethod
    async def _outcome(
        running: RunningCall, answer: Coroutine[Any, Any, Answer], timeout_seconds: float | None
    ) -> Answer | SessionError:
        timer = None
        if timeout_seconds is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(timeout_seconds, running.stop, TIMED_OUT)
        try:
            outcome = await answer
        except asyncio.CancelledError:
            if running.stopped_with is None:
                raise
            return running.stopped_with
        finally:
            if timer is not None:
                timer.cancel()
        # A handler may swallow its cancellation; the client still gets the answer it asked for.
        return running.stopped_with or outcome
