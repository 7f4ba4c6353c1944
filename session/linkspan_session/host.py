"""The session host: what each message of a client does, and on what terms it runs.

Above lies `servicer`, which speaks gRPC; below lie `directory` (which session it is for), `requests`
and `hearing` (what runs), and `store` (what is on record). Invariants: nothing is done for a session
before its principal is checked and this server owns it; what a client is told is on record before it
is told.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from linkspan_contract.envelope import (
    BATCH_VERSION,
    Batch,
    Envelope,
    EnvelopeError,
    Notification,
    Request,
    parse_message,
)
from linkspan_session import life
from linkspan_session.answers import HeaderPairs
from linkspan_session.directory import SessionDirectory
from linkspan_session.errors import (
    DrainingError,
    InvalidRequestError,
    SessionEndedError,
    SessionNotFoundError,
)
from linkspan_session.events import accepted_event, ended_event
from linkspan_session.exchange import Exchange
from linkspan_session.hearing import Hearing
from linkspan_session.kernel import HostedServer
from linkspan_session.lease import Lease
from linkspan_session.life import Event, state_of
from linkspan_session.live import LiveSession, StreamSettings
from linkspan_session.overview import Overview
from linkspan_session.probing import Probe
from linkspan_session.requests import Attempt, Requests, Terms
from linkspan_session.session_limits import SessionLimits
from linkspan_session.store import Found, Principal, SessionId, SessionRecord, SessionStore
from linkspan_session.tasks.runner import TaskRunner

logger = logging.getLogger(__name__)

_ANSWER_MARGIN_SECONDS: Final = 0.25
"""How much earlier than its caller a handler is stopped, so that the answer still arrives."""

_NOTICED_SECONDS: Final = 0.01
"""From when on it counts how long it took to find a session."""

_STOP_SECONDS: Final = 1.0
"""How long a handler may take to heed that it is stopped."""

_LOOK_SECONDS: Final = 0.02
"""How often to look whether what is not a call has ended."""

LISTEN_METHOD: Final = "subscriptions/listen"
"""The request of MCP 2026-07-28 whose answer is a stream that lasts as long as its caller likes."""

_FIRST: Final = Attempt()


class SessionHost:
    """All sessions of one session server, and the calls that have no session."""

    def __init__(
        self,
        hosted: HostedServer,
        store: SessionStore,
        lease: Lease,
        tasks: asyncio.TaskGroup,
        *,
        request_timeout_seconds: float,
        max_requests: int,
        streams: StreamSettings,
        limits: SessionLimits,
        task_runner: TaskRunner,
        probe: Probe | None = None,
        now_millis: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Make a host.

        Args:
            hosted: The user's server, its lifespan entered.
            store: Where sessions are on record.
            lease: This session server's lease.
            tasks: Owns every handler's task.
            request_timeout_seconds: The longest a handler may run, whatever its caller allows.
            max_requests: How many requests of one session may run at once.
            streams: How streams behave.
            limits: How long sessions live and how many there may be.
            task_runner: Runs what outlives its request.
            probe: Looks whether another session server answers; None for one without TLS.
            now_millis: The wall clock, in milliseconds since the Unix epoch.
        """
        self._store = store
        self._streams = streams
        self._request_timeout_seconds = request_timeout_seconds
        self._now_millis = now_millis
        self._requests = Requests(
            hosted,
            tasks,
            task_runner=task_runner,
            max_in_flight=max_requests,
            expires_millis=lambda record: limits.expires_millis(
                record.created_millis, now_millis()
            ),
            end_session=lambda live: self.sessions.end(live),  # noqa: PLW0108 - made below
        )
        self.sessions: Final = SessionDirectory(
            hosted,
            store,
            lease,
            tasks,
            streams,
            limits,
            now_millis,
            self._requests.restore,
            probe,
        )
        self._hearing = Hearing(
            hosted, tasks, timeout_seconds=request_timeout_seconds, max_at_once=max_requests
        )
        self._draining = False

    async def init(
        self, session_id: SessionId, principal: Principal, *, unreachable_owner: str = ""
    ) -> tuple[SessionRecord, int, bool]:
        """Create a session, or find the one there is.

        Returns:
            Its record, how many of its requests run here, and whether this call created it.

        Raises:
            SessionIdTakenError: The id is another principal's.
            TooManySessionsError: The principal has as many as it may have.
            SessionError: It is there and cannot be used here; see `SessionDirectory.using`.
        """
        record, created = await self.sessions.create(session_id, principal, unreachable_owner)
        return record, self.sessions.in_flight(session_id), created

    async def post(
        self,
        session_id: SessionId | None,
        principal: Principal,
        message: str,
        *,
        headers: HeaderPairs,
        single_answer: bool,
        timeout_seconds: float | None,
        attempt: Attempt = _FIRST,
        unreachable_owner: str = "",
    ) -> Exchange:
        """Handle one message of a client, and return the stream of what comes of it.

        Args:
            session_id: The session; None for a message of MCP 2026-07-28.
            principal: On whose behalf.
            message: One JSON-RPC message, or an array of them.
            headers: The HTTP headers that came with it.
            single_answer: Whether the client takes the answer and nothing before it.
            timeout_seconds: How long the caller waits; None for as long as the host allows.
            attempt: Whether it may have begun before.
            unreachable_owner: The owner that the caller could not reach; empty if none.

        Raises:
            InvalidRequestError: The message is not JSON-RPC, or is an array in a session whose
                version has none.
            TooManyRequestsError: The session runs as many requests as it may run.
            SessionError: The session cannot be used here; see `SessionDirectory.using`.
        """
        parsed = _parse(message)
        timeout = self._timeout(parsed, timeout_seconds)
        terms = Terms(principal, headers, single_answer, timeout, attempt)
        exchange = self._streams.new_exchange()
        if session_id is None:
            await self._post_alone(parsed, exchange, terms)
            return exchange
        clock = asyncio.get_running_loop().time
        came_at = clock()
        async with self.sessions.using(session_id, principal, unreachable_owner) as live:
            took_seconds = clock() - came_at
            if timeout is not None and took_seconds > _NOTICED_SECONDS:  # to find the session
                left = max(0.0, timeout - took_seconds)
                terms = terms._replace(timeout_seconds=left)
            await self._post_in_session(live, parsed, exchange, terms)
        return exchange

    async def listen(
        self,
        session_id: SessionId,
        principal: Principal,
        last_event_id: str,
        *,
        unreachable_owner: str = "",
    ) -> Exchange:
        """Open the session's listening stream, or the stream that an event belongs to.

        Args:
            session_id: The session.
            principal: On whose behalf.
            last_event_id: The last event that the client saw; empty for the listening stream.
            unreachable_owner: The owner that the caller could not reach; empty if none.

        Raises:
            EventUnknownError: The event is not one of this session, or no longer on record.
            SessionError: The session cannot be used here; see `SessionDirectory.using`.
        """
        async with self.sessions.using(session_id, principal, unreachable_owner) as live:
            if self._draining and not live.calls:
                raise DrainingError
            exchange = self._streams.new_exchange()
            if last_event_id:
                await live.resume(last_event_id, exchange)
            else:
                await live.listen(exchange)
            return exchange

    async def end(
        self,
        session_id: SessionId,
        principal: Principal,
        *,
        attempt: Attempt = _FIRST,
        unreachable_owner: str = "",
    ) -> Exchange:
        """End a session: on record first, then in memory.

        Raises:
            SessionError: The session cannot be used here; see `SessionDirectory.using`.
        """
        try:
            async with self.sessions.using(session_id, principal, unreachable_owner) as live:
                await self.sessions.end(live)
        except SessionEndedError:
            if not attempt.begun_before:
                raise
        exchange = Exchange()
        exchange.finish(ended_event())
        return exchange

    # --- for operators ---------------------------------------------------------------------------

    async def end_any(self, session_id: SessionId, *, unreachable_owner: str = "") -> None:
        """End a session, whomever it belongs to.

        Raises:
            SessionNotFoundError: There is no such session.
            SessionError: The session cannot be used here; see `SessionDirectory.using`.
        """
        found = await self._found(session_id)
        life.step(state_of(found, self._now_millis()), Event.ENDED)
        await self.end(session_id, found.record.principal, unreachable_owner=unreachable_owner)

    async def get(self, session_id: SessionId) -> Overview:
        """Return what is known of a session.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        found = await self._found(session_id)
        stored = await self._store.stored_bytes((session_id,))
        return self._overview(found, stored)

    async def list_page(self, after: tuple[int, SessionId] | None, limit: int) -> list[Overview]:
        """Return a page of what is known of sessions."""
        page = await self._store.list_page(after, limit)
        stored = await self._store.stored_bytes(tuple(each.record.session_id for each in page))
        return [self._overview(found, stored) for found in page]

    def _overview(self, found: Found, stored: dict[SessionId, int]) -> Overview:
        record = self.sessions.as_known_here(found.record)
        return Overview(
            record=record,
            state=state_of(found, self._now_millis()),
            owner_alive=found.owner_alive,
            in_flight=self.sessions.in_flight(record.session_id),
            owned_here=self.sessions.is_owner(record),
            stored_bytes=stored.get(record.session_id, 0),
        )

    async def _found(self, session_id: SessionId) -> Found:
        found = await self._store.get(session_id)
        if found is None:
            raise SessionNotFoundError
        return found

    # --- messages --------------------------------------------------------------------------------

    async def _post_in_session(
        self, live: LiveSession, parsed: Envelope | Batch, exchange: Exchange, terms: Terms
    ) -> None:
        match parsed:
            case Request():
                await self._requests.answer(live, parsed, exchange, terms)
            case Batch():
                await self._post_batch(live, parsed, exchange, terms)
            case _:
                linked_traceparent = await self._hearing.take(
                    live,
                    parsed,
                    terms.headers,
                    again=terms.attempt.begun_before > 0,
                )
                exchange.finish(accepted_event(linked_traceparent))

    async def _post_alone(self, parsed: Envelope | Batch, exchange: Exchange, terms: Terms) -> None:
        """Handle a message of MCP 2026-07-28."""
        match parsed:
            case Request():
                if self._draining:
                    raise DrainingError
                await self._requests.answer_alone(parsed, exchange, terms)
            case Notification():  # that version has none that mean anything to a server
                exchange.finish(accepted_event())
            case _:
                raise InvalidRequestError("batches and responses belong to a session; name it")

    async def _post_batch(
        self, live: LiveSession, batch: Batch, exchange: Exchange, terms: Terms
    ) -> None:
        handshake = live.record.handshake
        if handshake is None or handshake.protocol_version != BATCH_VERSION:
            raise InvalidRequestError("send one message at a time: this version has no batches")
        requests = [each for each in batch.messages if isinstance(each, Request)]
        # First what may fail as a whole; once a request has begun, the batch has begun.
        for message in batch.messages:
            if not isinstance(message, Request):
                await self._hearing.take(
                    live, message, terms.headers, again=terms.attempt.begun_before > 0
                )
        if requests:
            self._requests.answer_batch(live, requests, exchange, terms)
        else:
            exchange.finish(accepted_event())

    def _timeout(self, parsed: Envelope | Batch, caller_seconds: float | None) -> float | None:
        """Say how long a message's handler may run, in seconds; None for as long as its caller."""
        if isinstance(parsed, Request) and parsed.method == LISTEN_METHOD:
            return None
        if caller_seconds is None:
            return self._request_timeout_seconds
        # The handler is stopped a little before its caller gives up, so that it is heard why.
        margin = min(_ANSWER_MARGIN_SECONDS, caller_seconds / 10)
        return min(self._request_timeout_seconds, caller_seconds - margin)

    # --- the end ---------------------------------------------------------------------------------

    async def drain(self, grace_seconds: float) -> None:
        """Take no more sessions, let what runs end, and stop what has not ended in time.

        A session that something runs in is served on; one that is idle is given back when it is
        asked for, and its caller is sent to another session server.
        """
        self._draining = True
        self.sessions.drain()
        self._hand_over_listening()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._requests.alone.wait()
                while busy := [live for live in self.sessions.live() if not live.unused]:
                    for live in busy:
                        await live.calls.wait()
                    await asyncio.sleep(_LOOK_SECONDS)  # for those that do not run as calls
        except TimeoutError:
            await self._stop_calls()
        self._hearing.stop()
        self._hand_over_listening()  # whoever came to listen while something ran
        await self.sessions.leave()

    def _hand_over_listening(self) -> None:
        for live in self.sessions.live():
            live.hand_over_listening(DrainingError())

    async def _stop_calls(self) -> None:
        running = [self._requests.alone, *(live.calls for live in self.sessions.live())]
        async with asyncio.TaskGroup() as stopping:
            stopping.create_task(self._requests.stop(None))
            for live in self.sessions.live():
                stopping.create_task(self._requests.stop(live))
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                for calls in running:
                    await calls.wait()


def _parse(message: str) -> Envelope | Batch:
    try:
        return parse_message(message)
    except EnvelopeError as error:
        raise InvalidRequestError(str(error)) from None
