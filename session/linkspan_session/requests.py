"""The requests of clients: begun, begun again, or answered from the record.

Above lies `host`; below lie `calls` (what runs), `live` (a session in memory), `settling` (what a
request has changed) and `kernel`. Invariants: what a handler does ends in one answer, however its
caller fares; a request that may have begun before runs again only if that does no harm.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from linkspan_contract.envelope import INVALID_REQUEST, Request
from linkspan_session.answer_streams import AnswerStream, BatchStream, PlainStream
from linkspan_session.answers import CANCELLED, LOST, SHUTTING_DOWN, Closing, Failed, HeaderPairs
from linkspan_session.auditing import audit
from linkspan_session.calls import RunningCall, RunningCalls, Settlement
from linkspan_session.errors import (
    EventUnknownError,
    SessionElsewhereError,
    SessionError,
    SessionMovedError,
    TooManyRequestsError,
)
from linkspan_session.events import answer_event
from linkspan_session.exchange import Exchange
from linkspan_session.hosting_context import HostingContext, lending
from linkspan_session.kernel import Call, HostedServer
from linkspan_session.live import LiveSession
from linkspan_session.outlets import CallOutlet, SilentOutlet
from linkspan_session.retries import (
    HARMLESS_METHODS,
    TOOL_METHOD,
    Again,
    decide,
    is_harmless_tool,
)
from linkspan_session.settling import Settled, SettledHandshake
from linkspan_session.storage.handler import HandlerStorage
from linkspan_session.store import Principal, SessionRecord, StreamRecord
from linkspan_session.stream_ids import parse_event_id
from linkspan_session.streams import EventStream
from linkspan_session.subject import set_subject
from linkspan_session.tasks.runner import TaskRunner

logger = logging.getLogger(__name__)

_ALREADY_INITIALIZED: Final = Failed(INVALID_REQUEST, "The session is already initialized")

_DESCRIBE_SECONDS: Final = 2.0
"""How long the hosted server may take to say whether a tool is harmless."""


class Attempt(NamedTuple):
    """How a call stands to earlier ones that were to do the same; see the contract's `Attempt`."""

    key: str = ""
    begun_before: int = 0
    seen_event_id: str = ""


class Terms(NamedTuple):
    """On what terms a request came.

    Attributes:
        principal: On whose behalf.
        headers: The HTTP headers that came with it.
        single_answer: Whether the client takes the answer and nothing before it.
        timeout_seconds: How long its handler may run; None for as long as its caller waits.
        attempt: Whether it may have begun before.
    """

    principal: Principal
    headers: HeaderPairs
    single_answer: bool
    timeout_seconds: float | None
    attempt: Attempt


class Requests:
    """What runs for clients, in sessions and without one."""

    def __init__(
        self,
        hosted: HostedServer,
        tasks: asyncio.TaskGroup,
        *,
        task_runner: TaskRunner,
        max_in_flight: int,
        expires_millis: Callable[[SessionRecord], int],
        end_session: Callable[[LiveSession], Awaitable[None]],
    ) -> None:
        """Begin with none.

        Args:
            hosted: The user's server.
            tasks: Owns every handler's task.
            task_runner: Runs what outlives its request.
            max_in_flight: How many requests of one session may run at once.
            expires_millis: Says when a session expires that is used now, in milliseconds since the
                Unix epoch.
            end_session: Ends a session whose handshake failed.
        """
        self._hosted = hosted
        self._tasks = tasks
        self._task_runner = task_runner
        self._max_in_flight = max_in_flight
        self._expires_millis = expires_millis
        self._end_session = end_session
        self.alone = RunningCalls(tasks)
        """The requests of MCP 2026-07-28."""

    # --- in a session ----------------------------------------------------------------------------

    async def answer(
        self, live: LiveSession, request: Request, exchange: Exchange, terms: Terms
    ) -> None:
        """Handle a request of a session, and let `exchange` read what comes of it."""
        on_record = None
        if terms.attempt.begun_before:
            on_record = await live.journal.find_stream(terms.attempt.key)
            running = live.stream_of(terms.attempt.key)
            match decide(running_here=running is not None, on_record=on_record):
                case Again.JOIN if running is not None:
                    await _join(running, exchange, terms.attempt)
                    return
                case Again.REPLAY if on_record is not None:
                    await _replay(live, on_record, exchange, terms.attempt)
                    return
                case _:
                    if not await self._is_harmless(live, request):
                        await _give_up(live, on_record, request, exchange, terms.attempt)
                        return
                    running = live.stream_of(terms.attempt.key)
                    if running is not None:  # somebody else has sent it again meanwhile
                        await _join(running, exchange, terms.attempt)
                        return
        if live.ended:
            raise SessionElsewhereError("")  # or ended: whoever asks again is told
        if len(live.calls) >= self._max_in_flight:
            raise TooManyRequestsError
        quiet = terms.single_answer or request.method == "initialize"
        if on_record is None:
            stream = live.open_call(request, terms.attempt.key, exchange)
        else:
            stream = await _take_up(live, on_record, exchange, terms.attempt)
        closing = None
        if not quiet and stream.resumption.priming:
            closing = Closing(stream.close_on_purpose, live.close_listening)
        live.watch_call(stream, silent=quiet)
        self._start(live, request, stream, terms, closing)

    def answer_batch(
        self, live: LiveSession, requests: list[Request], exchange: Exchange, terms: Terms
    ) -> None:
        """Handle the requests of a batch: each is answered as soon as it can be, in any order.

        Raises:
            TooManyRequestsError: There is no room for all of them; none was begun.
            SessionElsewhereError: The session is going; none was begun.
        """
        if live.ended:
            raise SessionElsewhereError("")
        if len(live.calls) + len(requests) > self._max_in_flight:
            raise TooManyRequestsError
        stream = BatchStream(exchange, len(requests), live.journal)
        for request in requests:
            if terms.attempt.begun_before and request.method not in HARMLESS_METHODS:
                self._tasks.create_task(_finish(stream, request, LOST))
            else:
                self._start(live, request, stream, terms)

    def _start(
        self,
        live: LiveSession,
        request: Request,
        stream: AnswerStream,
        terms: Terms,
        closing: Closing | None = None,
    ) -> None:
        """Start a request of a session."""
        storage = HandlerStorage(live.data)
        settlement: Settlement = Settled(live, request, storage)
        if request.method == "initialize":
            known = live.record.handshake is not None and not terms.attempt.begun_before
            if live.initializing or known:
                self._tasks.create_task(_finish(stream, request, _ALREADY_INITIALIZED))
                return
            live.initializing = True
            expires = self._expires_millis(live.record)
            settlement = SettledHandshake(live, storage, expires, self._end_session)
        set_subject(live.record.session_id, request.method)
        outlet = SilentOutlet(stream) if terms.single_answer else CallOutlet(stream, live.asks)
        call = Call(
            outlet,
            request_id=request.id,
            params=request.params,
            headers=terms.headers,
            closing=closing,
        )
        with lending(HostingContext(terms.principal, self._task_runner, storage)):
            live.calls.start(
                request,
                call,
                stream,
                self._hosted.answer(live.connection, call, request),
                timeout_seconds=terms.timeout_seconds,
                settlement=settlement,
            )

    async def _is_harmless(self, live: LiveSession | None, request: Request) -> bool:
        """Tell whether a request may run twice."""
        name = (request.params or {}).get("name")
        if request.method != TOOL_METHOD or not isinstance(name, str):
            return request.method in HARMLESS_METHODS
        connection = None if live is None else live.connection
        try:
            async with asyncio.timeout(_DESCRIBE_SECONDS):
                tool = await self._hosted.tool(connection, request, name)
        except TimeoutError:
            return False
        return tool is not None and is_harmless_tool(tool)

    # --- MCP 2026-07-28 --------------------------------------------------------------------------

    async def answer_alone(self, request: Request, exchange: Exchange, terms: Terms) -> None:
        """Handle a request that belongs to no session."""
        if terms.attempt.begun_before and not await self._is_harmless(None, request):
            exchange.finish(answer_event(request.id, LOST))
            if audit.trail is not None:
                audit.answered(request, LOST)
            return
        set_subject("", request.method)
        stream = PlainStream(exchange)
        outlet = SilentOutlet(stream) if terms.single_answer else CallOutlet(stream, None)
        call = Call(outlet, request_id=request.id, params=request.params, headers=terms.headers)
        with lending(HostingContext(terms.principal, self._task_runner, None)):
            running = self.alone.start(
                request,
                call,
                stream,
                self._hosted.answer_alone(call, request),
                timeout_seconds=terms.timeout_seconds,
            )
        # MCP 2026-07-28, basic/transports: closing the response stream cancels the request.
        exchange.on_detach = partial(running.stop, CANCELLED)

    async def restore(self, live: LiveSession) -> None:
        """Tell the hosted server what the client of a session that wakes had asked for."""
        storage = HandlerStorage(live.data)  # to read: what is written now was written before
        try:
            with lending(HostingContext(live.record.principal, self._task_runner, storage)):
                await self._hosted.restore(live.connection, live.record.preferences)
        finally:
            storage.discard()

    # --- the end ---------------------------------------------------------------------------------

    async def stop(self, live: LiveSession | None) -> None:
        """Stop what has not ended in time: what is harmless runs again on another server."""
        calls = self.alone if live is None else live.calls
        async with asyncio.TaskGroup() as stopping:
            for running in calls.running():
                # To look whether it is harmless is part of its trace.
                stopping.create_task(self._stop(live, running), context=running.context)

    async def _stop(self, live: LiveSession | None, running: RunningCall) -> None:
        harmless = await self._is_harmless(live, running.request)
        running.stop(SessionMovedError() if harmless else SHUTTING_DOWN)


async def _finish(stream: AnswerStream, request: Request, answer: Failed) -> None:
    """Answer a request that does not run; what fails is told to who reads it."""
    if audit.trail is not None:
        audit.answered(request, answer)
    try:
        await stream.finish(answer_event(request.id, answer))
    except SessionError as error:
        stream.fail(error)
    finally:
        stream.abort()


async def _give_up(
    live: LiveSession,
    on_record: StreamRecord | None,
    request: Request,
    exchange: Exchange,
    attempt: Attempt,
) -> None:
    """Answer a request of which nobody knows what became."""
    logger.info("%s may have run on another session server and is not run again", request.method)
    if audit.trail is not None:
        audit.answered(request, LOST)
    if on_record is None:
        exchange.finish(answer_event(request.id, LOST))
    else:
        await _replay(live, on_record, exchange, attempt)


async def _join(running: EventStream, exchange: Exchange, attempt: Attempt) -> None:
    await running.attach(exchange, after=_seen(running.record, attempt), gaps=True)


async def _replay(
    live: LiveSession, on_record: StreamRecord, exchange: Exchange, attempt: Attempt
) -> None:
    await live.replay(on_record, exchange, after=_seen(on_record, attempt), gaps=True)


async def _take_up(
    live: LiveSession, on_record: StreamRecord, exchange: Exchange, attempt: Attempt
) -> EventStream:
    """Go on with the stream of a request that runs again; nothing is left of it if that fails."""
    seen = _seen(on_record, attempt)
    stream = live.take_up(on_record)
    try:
        await stream.attach(exchange, after=seen, gaps=True)
        if live.ended:
            raise SessionElsewhereError("")  # noqa: TRY301 - as all that keeps it from beginning
    except BaseException:
        live.drop(stream)
        raise
    return stream


def _seen(record: StreamRecord, attempt: Attempt) -> int:
    """Return the number of the last event that a caller has passed on; 0 if there was none.

    Raises:
        EventUnknownError: The event is of another stream.
    """
    if not attempt.seen_event_id:
        return 0
    stream_id, sequence = parse_event_id(attempt.seen_event_id)
    if stream_id != record.stream_id:
        raise EventUnknownError
    return sequence
