"""The session host: what each message of a client does, and on what terms it runs.

Above lies `servicer`, which speaks gRPC; below lie `directory` (which session it is for), `live` (a
session in memory), `kernel` (the hosted server) and `store` (what is on record). Invariants:
nothing is done for a session before its principal is checked; what a client is told is on record
before it is told; what a handler does ends in one answer, however its caller fares.
"""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from linkspan_contract.envelope import (
    BATCH_VERSION,
    INVALID_REQUEST,
    Batch,
    Envelope,
    EnvelopeError,
    Notification,
    Request,
    Response,
    is_request_id,
    parse_message,
)
from linkspan_session.answers import (
    CANCELLED,
    SHUTTING_DOWN,
    Answer,
    Closing,
    Failed,
    HeaderPairs,
    Result,
)
from linkspan_session.calls import RunningCalls
from linkspan_session.directory import SessionDirectory
from linkspan_session.errors import (
    DrainingError,
    InvalidRequestError,
    SessionIdTakenError,
    SessionNotFoundError,
)
from linkspan_session.events import accepted_event, answer_event, ended_event
from linkspan_session.exchange import Exchange
from linkspan_session.hosting_context import HostingContext, lending
from linkspan_session.kernel import Call, HostedServer, handshake_of
from linkspan_session.live import CallOutlet, LiveSession, SilentOutlet, StreamSettings
from linkspan_session.store import EventLog, Principal, SessionId, SessionRecord, SessionStore
from linkspan_session.streams import AnswerStream, BatchStream, PlainStream
from linkspan_session.tasks.runner import TaskRunner

logger = logging.getLogger(__name__)

_ANSWER_MARGIN_SECONDS: Final = 0.25
"""How much earlier than its caller a handler is stopped, so that the answer still arrives."""

LISTEN_METHOD: Final = "subscriptions/listen"
"""The request of MCP 2026-07-28 whose answer is a stream that lasts as long as its caller likes."""

_ALREADY_INITIALIZED: Final = Failed(INVALID_REQUEST, "The session is already initialized")


@dataclass(frozen=True, slots=True)
class _Terms:
    """On what terms a request came."""

    headers: HeaderPairs
    single_answer: bool
    timeout_seconds: float | None


class SessionHost:
    """All sessions of one session server, and the calls that have no session."""

    def __init__(
        self,
        hosted: HostedServer,
        store: SessionStore,
        log: EventLog,
        tasks: asyncio.TaskGroup,
        *,
        request_timeout_seconds: float,
        streams: StreamSettings,
        task_runner: TaskRunner | None = None,
        now_millis: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Make a host.

        Args:
            hosted: The user's server, its lifespan entered.
            store: Where sessions are on record.
            log: Where the events of their streams are on record.
            tasks: Owns every handler's task.
            request_timeout_seconds: The longest a handler may run, whatever its caller allows.
            streams: How streams behave.
            task_runner: Runs what outlives its request; None if nothing may.
            now_millis: The wall clock, in milliseconds since the Unix epoch.
        """
        self._hosted = hosted
        self._store = store
        self._streams = streams
        self._tasks = tasks
        self._request_timeout_seconds = request_timeout_seconds
        self._task_runner = task_runner
        self._now_millis = now_millis
        self._sessions = SessionDirectory(hosted, store, log, tasks, streams, now_millis)
        self._calls_alone = RunningCalls(tasks)
        self._hearing: set[asyncio.Task[None]] = set()
        self._draining = False

    async def init(
        self, session_id: SessionId, principal: Principal
    ) -> tuple[SessionRecord, int, bool]:
        """Create a session, or find the one there is.

        Returns:
            Its record, how many of its requests run here, and whether this call created it.

        Raises:
            SessionIdTakenError: The id is another principal's.
        """
        self._check_not_draining()
        now = self._now_millis()
        record = SessionRecord(session_id, principal, None, now, now)
        existing = await self._store.create(record)
        if existing is None:
            return record, 0, True
        if existing.principal != principal:
            raise SessionIdTakenError
        return existing, self._sessions.in_flight(session_id), False

    async def post(
        self,
        session_id: SessionId | None,
        principal: Principal,
        message: str,
        *,
        headers: HeaderPairs,
        single_answer: bool,
        timeout_seconds: float | None,
    ) -> Exchange:
        """Handle one message of a client, and return the stream of what comes of it.

        Args:
            session_id: The session; None for a message of MCP 2026-07-28.
            principal: On whose behalf.
            message: One JSON-RPC message, or an array of them.
            headers: The HTTP headers that came with it.
            single_answer: Whether the client takes the answer and nothing before it.
            timeout_seconds: How long the caller waits; None for as long as the host allows.

        Raises:
            InvalidRequestError: The message is not JSON-RPC, or is an array in a session whose
                version has none.
            SessionNotFoundError: There is no such session for this principal.
        """
        parsed = _parse(message)
        if _asks(parsed):  # anything else may be what a running handler waits for
            self._check_not_draining()
        live = None if session_id is None else await self._sessions.find(session_id, principal)
        timeout = self._timeout(parsed, timeout_seconds)
        terms = _Terms(headers, single_answer, timeout)
        with lending(self._hosting(principal)):
            if live is None:
                return self._post_alone(parsed, terms)
            return await self._post_in_session(live, parsed, terms)

    async def listen(
        self, session_id: SessionId, principal: Principal, last_event_id: str
    ) -> Exchange:
        """Open the session's listening stream, or the stream that an event belongs to.

        Args:
            session_id: The session.
            principal: On whose behalf.
            last_event_id: The last event that the client saw; empty for the listening stream.

        Raises:
            SessionNotFoundError: There is no such session for this principal.
            EventUnknownError: The event is not one of this session, or no longer on record.
        """
        self._check_not_draining()
        live = await self._sessions.find(session_id, principal)
        exchange = self._streams.new_exchange()
        if last_event_id:
            await live.resume(last_event_id, exchange)
        else:
            await live.listen(exchange)
        return exchange

    async def end(self, session_id: SessionId, principal: Principal) -> Exchange:
        """End a session: off the record first, then out of memory.

        Raises:
            SessionNotFoundError: There is no such session for this principal.
        """
        self._check_not_draining()
        live = await self._sessions.find(session_id, principal)
        await self._sessions.end(live)
        exchange = Exchange()
        exchange.finish(ended_event())
        return exchange

    async def get(self, session_id: SessionId) -> tuple[SessionRecord, int]:
        """Return a session's record and how many of its requests run here.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        record = await self._store.get(session_id)
        if record is None:
            raise SessionNotFoundError
        return record, self._sessions.in_flight(session_id)

    async def list_page(
        self, after: tuple[int, SessionId] | None, limit: int
    ) -> list[tuple[SessionRecord, int]]:
        """Return a page of records, each with how many of its requests run here."""
        records = await self._store.list_page(after, limit)
        return [(record, self._sessions.in_flight(record.session_id)) for record in records]

    async def drain(self, grace_seconds: float) -> None:
        """Take no more calls, let those that run end, and stop what has not ended in time."""
        self._draining = True
        calls = [self._calls_alone, *(live.calls for live in self._sessions.live())]
        for live in self._sessions.live():
            live.stop_listening()
        try:
            async with asyncio.timeout(grace_seconds):
                for each in calls:
                    await each.wait()
        except TimeoutError:
            for each in calls:
                each.stop_all(SHUTTING_DOWN)
        for task in self._hearing:
            task.cancel()
        for live in self._sessions.live():  # a handshake that is stopped takes its session away
            await self._hosted.disconnect(live.connection)

    # --- requests --------------------------------------------------------------------------------

    async def _post_in_session(
        self, live: LiveSession, parsed: Envelope | Batch, terms: _Terms
    ) -> Exchange:
        exchange = self._streams.new_exchange()
        match parsed:
            case Batch():
                await self._post_batch(live, parsed, exchange, terms)
            case Request():
                self._answer(live, parsed, exchange, terms)
            case _:
                linked_traceparent = await self._take(live, parsed, terms.headers)
                exchange.finish(accepted_event(linked_traceparent))
        return exchange

    def _post_alone(self, parsed: Envelope | Batch, terms: _Terms) -> Exchange:
        """Handle a message of MCP 2026-07-28."""
        exchange = self._streams.new_exchange()
        match parsed:
            case Request():
                self._answer_alone(parsed, exchange, terms)
            case Notification():  # that version has none that mean anything to a server
                exchange.finish(accepted_event())
            case _:
                raise InvalidRequestError("batches and responses belong to a session; name it")
        return exchange

    def _answer_alone(self, request: Request, exchange: Exchange, terms: _Terms) -> None:
        stream = PlainStream(exchange)
        outlet = SilentOutlet(stream) if terms.single_answer else CallOutlet(stream, None)
        call = Call(outlet, request_id=request.id, params=request.params, headers=terms.headers)
        running = self._calls_alone.start(
            request,
            call,
            stream,
            self._hosted.answer_alone(call, request),
            timeout_seconds=terms.timeout_seconds,
        )
        # MCP 2026-07-28, basic/transports: closing the response stream cancels the request.
        exchange.on_detach = partial(running.stop, CANCELLED)

    async def _post_batch(
        self, live: LiveSession, batch: Batch, exchange: Exchange, terms: _Terms
    ) -> None:
        """Handle a batch: each request is answered as soon as it can be, in any order."""
        handshake = live.record.handshake
        if handshake is None or handshake.protocol_version != BATCH_VERSION:
            raise InvalidRequestError("send one message at a time: this version has no batches")
        requests = [each for each in batch.messages if isinstance(each, Request)]
        stream = BatchStream(exchange, len(requests))
        # First what may fail as a whole; once a request has begun, the batch has begun.
        for message in batch.messages:
            if not isinstance(message, Request):
                await self._take(live, message, terms.headers)
        for request in requests:
            self._start(live, request, stream, terms)
        if not requests:
            exchange.finish(accepted_event())

    def _answer(
        self, live: LiveSession, request: Request, exchange: Exchange, terms: _Terms
    ) -> None:
        # Which version the client of an initialize can resume in is not known yet.
        if terms.single_answer or request.method == "initialize":
            self._start(live, request, PlainStream(exchange), terms)
            return
        stream = live.open_call(request, exchange)
        closing = None
        if live.resumption.priming:
            closing = Closing(stream.close_on_purpose, live.close_listening)
        running = self._start(live, request, stream, terms, closing)
        live.watch_call(stream, running)

    def _start(
        self,
        live: LiveSession,
        request: Request,
        stream: AnswerStream,
        terms: _Terms,
        closing: Closing | None = None,
    ) -> "asyncio.Task[None]":
        """Start a request of a session and return the task that runs it."""
        before_answer = None
        if request.method == "initialize":
            if live.initializing or live.record.handshake is not None:
                answer = _ALREADY_INITIALIZED
                return self._tasks.create_task(stream.finish(answer_event(request.id, answer)))
            live.initializing = True
            before_answer = partial(self._after_initialize, live)
        outlet = SilentOutlet(stream) if terms.single_answer else CallOutlet(stream, live.asks)
        call = Call(
            outlet,
            request_id=request.id,
            params=request.params,
            headers=terms.headers,
            closing=closing,
        )
        return live.calls.start(
            request,
            call,
            stream,
            self._hosted.answer(live.connection, call, request),
            timeout_seconds=terms.timeout_seconds,
            before_answer=before_answer,
        ).task

    async def _after_initialize(self, live: LiveSession, answer: Answer) -> None:
        """Put a handshake on record before the client hears of it; drop a session without one."""
        handshake = handshake_of(live.connection)
        try:
            if not isinstance(answer, Result) or handshake is None:
                await self._sessions.end(live)
                return
            if not await self._store.save_handshake(live.record.session_id, handshake):
                raise SessionNotFoundError
            live.record = dataclasses.replace(live.record, handshake=handshake)
        finally:
            live.initializing = False

    # --- notifications and responses -------------------------------------------------------------

    async def _take(
        self, live: LiveSession, envelope: Notification | Response, headers: HeaderPairs
    ) -> str:
        """Take a message that is owed no answer; what it means for the session happens at once.

        Returns:
            The traceparent of the span that asked what it answers; empty if it answers nothing.
        """
        if isinstance(envelope, Response):
            return live.asks.take(envelope) or ""
        match envelope:
            case Notification("notifications/cancelled", {"requestId": request_id}) if (
                is_request_id(request_id)
            ):
                live.calls.stop(request_id, CANCELLED)
            case Notification("notifications/initialized"):
                await self._mark_initialized(live)
            case _:
                pass
        task = self._tasks.create_task(self._hear(live, envelope, headers))
        self._hearing.add(task)
        task.add_done_callback(self._hearing.discard)
        return ""

    async def _hear(
        self, live: LiveSession, notification: Notification, headers: HeaderPairs
    ) -> None:
        """Let the hosted server handle a notification, apart from the call that brought it."""
        outlet = SilentOutlet(PlainStream(Exchange()))
        call = Call(outlet, request_id=None, params=notification.params, headers=headers)
        try:
            async with asyncio.timeout(self._request_timeout_seconds):
                if notification.method == "notifications/progress":
                    await live.asks.report(notification.params)
                await self._hosted.hear(
                    live.connection, call, notification.method, notification.params
                )
        except Exception:  # a handler's failure is the handler's; it must not end its siblings
            logger.exception("the handler of %s failed", notification.method)

    async def _mark_initialized(self, live: LiveSession) -> None:
        live.connection.initialized.set()
        handshake = handshake_of(live.connection)
        if handshake is not None and live.record.handshake != handshake:
            await self._store.save_handshake(live.record.session_id, handshake)
            live.record = dataclasses.replace(live.record, handshake=handshake)

    # --- terms ---------------------------------------------------------------------------------

    def _timeout(self, parsed: Envelope | Batch, caller_seconds: float | None) -> float | None:
        """Say how long a message's handler may run, in seconds; None for as long as its caller."""
        if isinstance(parsed, Request) and parsed.method == LISTEN_METHOD:
            return None
        if caller_seconds is None:
            return self._request_timeout_seconds
        # The handler is stopped a little before its caller gives up, so that it is heard why.
        margin = min(_ANSWER_MARGIN_SECONDS, caller_seconds / 10)
        return min(self._request_timeout_seconds, caller_seconds - margin)

    def _hosting(self, principal: Principal) -> HostingContext | None:
        if self._task_runner is None:
            return None
        return HostingContext(principal, self._task_runner)

    def _check_not_draining(self) -> None:
        if self._draining:
            raise DrainingError


def _asks(parsed: Envelope | Batch) -> bool:
    """Tell whether a message begins something that is owed an answer."""
    if isinstance(parsed, Batch):
        return any(isinstance(each, Request) for each in parsed.messages)
    return isinstance(parsed, Request)


def _parse(message: str) -> Envelope | Batch:
    try:
        return parse_message(message)
    except EnvelopeError as error:
        raise InvalidRequestError(str(error)) from None
