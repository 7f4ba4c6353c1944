"""One request to `/mcp`, from its first header to its last byte: admitted, spanned, forwarded.

Above lies `app`, which routes; below lie `admission` (what it is), `session_client` (who answers)
and `relay` (how it goes back). Holds no state between requests. Invariants: each request has
exactly one `mcp.request` span, refused ones too; every call to a session server is made inside it;
a call whose client has gone is given up, and the session server knows if its handler runs on.
"""

import asyncio
import logging
import secrets
import time
import uuid
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from opentelemetry import context as otel_context

from linkspan_contract.envelope import INTERNAL_ERROR, Batch
from linkspan_contract.limits import MAX_HEADERS
from linkspan_worker.admission import (
    ALLOWED_METHODS,
    LISTEN_METHOD,
    SESSION_ID_HEADER,
    Alone,
    InSession,
    Opening,
    Post,
    RefusedError,
    era_of,
    routing_key_of,
)
from linkspan_worker.arrival import Arrival, End, Listen, judge, judge_stranger
from linkspan_worker.auditing import WorkerAudit
from linkspan_worker.authority import refuse_hosts
from linkspan_worker.caller_trust import CallerTrust
from linkspan_worker.callers import CallerLimits
from linkspan_worker.entry import Door
from linkspan_worker.failures import Refusal, refusal_of
from linkspan_worker.forwarded import PassedOn
from linkspan_worker.headers import ANY_ANSWER, Headers, HeaderValues, SteadyHeaders
from linkspan_worker.http import ClientGoneError, HttpExchange
from linkspan_worker.origin import refuse_rebinding
from linkspan_worker.pages import Pages
from linkspan_worker.proxies import TrustedProxies
from linkspan_worker.relay import Ending, Liveliness, Relay
from linkspan_worker.reply import Reply
from linkspan_worker.request_span import RequestSpan
from linkspan_worker.session_client import (
    Answer,
    Principal,
    SessionCallError,
    SessionClient,
)
from linkspan_worker.signals import Signal
from linkspan_worker.subject import set_subject
from linkspan_worker.traceresponse import traceresponse_line

logger = logging.getLogger(__name__)

_FOLLOWING: Final = CallerTrust()

_SESSION_ID_BYTES: Final = 24
_INIT_TIMEOUT_SECONDS: Final = 10.0
_LEAST_ASK_AGAIN_SECONDS: Final = 1.0
"""How often a listener is asked for again at most, whatever the door says."""


class McpEndpoint:
    """Answers requests to `/mcp`."""

    def __init__(
        self,
        sessions: SessionClient,
        *,
        request_timeout_seconds: float,
        listen_timeout_seconds: float,
        comment_every_seconds: float,
        stall_seconds: float,
        routing_header: str,
        loopback_only: bool,
        allowed_origins: frozenset[str],
        allowed_hosts: frozenset[str] | None = None,
        proxies: TrustedProxies | None = None,
        trust: CallerTrust = _FOLLOWING,
        door: Door | None = None,
        audit: WorkerAudit | None = None,
        callers: CallerLimits | None = None,
    ) -> None:
        """Make the endpoint.

        Args:
            sessions: Who answers.
            request_timeout_seconds: How long a request may take.
            listen_timeout_seconds: How long a listening stream lives before it ends cleanly.
            comment_every_seconds: How long a stream may be silent before a comment is sent.
            stall_seconds: How long a client may send nothing of its request, or take nothing of its
                answer.
            routing_header: The header whose value is the routing key of requests without a session,
                in lower case; empty for none.
            loopback_only: Whether requests that name another host than this machine are refused.
            allowed_origins: The origins of web pages that may talk to the worker, beside those of
                this machine.
            allowed_hosts: The names that the worker answers to, beside those of this machine; None
                for any, unless `loopback_only`.
            proxies: Whose word about others is believed; None for nobody's.
            trust: What is made of callers' trace contexts and headers.
            door: Where requests are let in or not; None lets everybody in.
            audit: Told of what is refused; None if nobody wants to know.
            callers: What each caller may do; None for all there is.
        """
        self._door = door
        self._audit = audit
        self._hosts = frozenset[str]() if loopback_only and not allowed_hosts else allowed_hosts
        self._proxies = proxies
        self.pages: Final = Pages(allowed_origins)
        self._callers = callers
        self._trust = trust
        self._sessions = sessions
        self._request_timeout_seconds = request_timeout_seconds
        self._stall_seconds = stall_seconds
        self._routing_header = routing_header
        self._draining = Signal()
        self._overdue = Signal()
        self._end_of_listening = Ending(self._draining, listen_timeout_seconds, quietly=True)
        self._end_of_requests = Ending(self._overdue)
        self._liveliness = Liveliness(comment_every_seconds)

    def drain(self) -> None:
        """End the listening streams, which would not end by themselves."""
        self._draining.tell()

    def give_up(self) -> None:
        """End all other calls, too."""
        self._overdue.tell()

    async def __call__(self, exchange: HttpExchange) -> None:
        """Answer one request."""
        started_nanos = time.time_ns()
        headers = _headers_of(exchange)
        exchange.own_fields = headers.steady.once(self.pages.fields, exchange.method)
        if self._proxies is not None and exchange.client is not None:
            exchange.passed_on = self._proxies.read(exchange.client[0], headers)
        try:
            arrival = await self._arrive(exchange, headers)
        except Exception as error:  # noqa: BLE001 - it is told inside of the span
            exchange.keep_alive = exchange.keep_alive and exchange.body_complete
            arrival = Arrival(headers, ANY_ANSWER, failed=error)
        if arrival.action is not None and arrival.refused is None:  # nobody is heard for nothing
            _remember(exchange, headers)
        batch = isinstance(arrival.envelope, Batch)
        envelope = None if isinstance(arrival.envelope, Batch) else arrival.envelope
        span = RequestSpan(
            exchange, headers, envelope, started_nanos=started_nanos, trust=self._trust
        )
        exchange.own_fields += traceresponse_line(span.span)
        relay = Relay(
            exchange,
            Reply(exchange, stall_seconds=self._stall_seconds),
            span,
            era=era_of(headers),
            accepted=arrival.accepted,
            request_id=arrival.request_id,
            batch=batch,
            liveliness=self._liveliness,
        )
        token = otel_context.attach(span.context)
        set_subject(headers, arrival.envelope, span.context)
        if arrival.refused is not None and self._audit is not None:
            self._audit.refused(exchange, arrival)
        try:
            await self._answer(arrival, relay)
        except ClientGoneError:
            span.client_gone()
        finally:
            otel_context.detach(token)
            span.end(relay.reply.status, relay.reply.content_type)

    async def _arrive(self, exchange: HttpExchange, headers: Headers) -> Arrival:
        if exchange.passed_on is None:
            misdirected = headers.steady.once(self._misdirected, exchange.http_version)
        else:
            misdirected = self._misdirected(
                headers, exchange.http_version, passed_on=exchange.passed_on
            )
        if misdirected is not None:
            return Arrival(headers, ANY_ANSWER, refused=RefusedError(misdirected))
        open_to_all = self._door is None and self._callers is None
        # Browsers send OPTIONS without a credential, and it costs nothing.
        if open_to_all or exchange.method == "OPTIONS":
            return await judge(exchange, headers, self._stall_seconds)
        if self._door is None:
            return await self._judge(exchange, headers, None)
        return await self._enter(self._door, exchange, headers)

    def _misdirected(
        self, headers: HeaderValues, http_version: str, *, passed_on: PassedOn | None = None
    ) -> Refusal | None:
        """Refuse a request that is not for this worker, or comes from where none may come from."""
        return refuse_hosts(headers, http_version) or refuse_rebinding(
            headers, hosts=self._hosts, pages=self.pages, passed_on=passed_on
        )

    async def _enter(self, door: Door, exchange: HttpExchange, headers: Headers) -> Arrival:
        """Let a request in, or refuse it."""
        entry = await door.enter(headers)
        if entry.refusal is not None:
            stranger = await judge_stranger(exchange, headers, entry.refusal)
            return stranger._replace(entry=entry)
        arrival = await self._judge(exchange, headers, entry.principal)
        if arrival.envelope is not None:
            entry = door.permit(entry, arrival.envelope)
        if entry.refusal is not None:
            refused = RefusedError(entry.refusal, arrival.request_id)
            return arrival._replace(refused=refused, entry=entry)
        return arrival._replace(entry=entry)

    async def _judge(
        self, exchange: HttpExchange, headers: Headers, principal: Principal | None
    ) -> Arrival:
        """Judge what was let in, if its caller may ask for anything now."""
        if self._callers is None:
            return await judge(exchange, headers, self._stall_seconds)
        too_many = self._callers.enter(exchange, principal)
        if too_many is not None:
            return await judge_stranger(exchange, headers, too_many)
        arrival = await judge(exchange, headers, self._stall_seconds)
        self._callers.count(exchange, arrival.envelope)
        return arrival

    async def _answer(self, arrival: Arrival, relay: Relay) -> None:
        if arrival.gone:
            raise ClientGoneError
        try:
            if arrival.failed is not None:
                raise arrival.failed  # noqa: TRY301 - answered like what fails later
            if arrival.entry is not None:
                arrival.entry.tell(relay.span)
            if arrival.refused is not None:
                await relay.refuse(arrival.refused.refusal)
                return
            match arrival.action:
                case None:
                    await relay.reply.empty(HTTPStatus.NO_CONTENT, [("allow", ALLOWED_METHODS)])
                case Listen(session_id, last_event_id):
                    answer = self._sessions.listen(
                        session_id, arrival.principal, last_event_id=last_event_id
                    )
                    await self._carry_listening(answer, arrival, relay)
                case End(session_id):
                    timeout = self._request_timeout_seconds
                    answer = self._sessions.end(
                        session_id, arrival.principal, timeout_seconds=timeout
                    )
                    await relay.carry(answer, self._end_of_requests)
                case _:
                    await self._post(arrival, arrival.action, relay)
        except SessionCallError as error:
            refusal = refusal_of(error.failure, in_doubt=error.in_doubt)
            await relay.refuse(refusal, resumable=error.resumable)
        except ClientGoneError:
            raise
        except Exception:
            correlation_id = uuid.uuid4().hex
            logger.exception("a request failed; correlation id %s", correlation_id)
            data = {"correlationId": correlation_id}
            await relay.refuse(
                Refusal(500, INTERNAL_ERROR, "Internal server error", "internal", data=data)
            )

    def _listening_of(self, arrival: Arrival) -> Ending:
        """Say when a listening stream ends: no later than what it was opened with."""
        usual = self._end_of_listening
        if arrival.entry is None or arrival.entry.ends_at is None or usual.at_most_seconds is None:
            return usual
        lasts = max(arrival.entry.ends_at - time.time(), 0.0)
        return replace(usual, at_most_seconds=min(lasts, usual.at_most_seconds))

    async def _carry_listening(self, answer: Answer, arrival: Arrival, relay: Relay) -> None:
        """Carry a stream that lasts, for as long as who opened it would be let in again."""
        ending = self._listening_of(arrival)
        door, entry = self._door, arrival.entry
        if door is None or entry is None:
            await relay.carry(answer, ending)
            return
        shut_out = Signal()
        try:
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(_ask_again(door, arrival, shut_out))
                try:
                    await relay.carry(answer, replace(ending, also_when=shut_out))
                finally:
                    asking.cancel()
                    if shut_out.happened and self._audit is not None:
                        self._audit.shut_out(arrival)
        except BaseExceptionGroup as failed:  # asking never fails: it is what the relay raised
            raise failed.exceptions[0] from None

    async def _post(self, arrival: Arrival, action: Post, relay: Relay) -> None:
        session_id: str | None
        match action:
            case Opening():
                session_id = secrets.token_urlsafe(_SESSION_ID_BYTES)
                relay.span.name_session(session_id)
                timeout = min(_INIT_TIMEOUT_SECONDS, self._request_timeout_seconds)
                await self._sessions.init(session_id, arrival.principal, timeout_seconds=timeout)
                relay.headers = ((SESSION_ID_HEADER, session_id),)
            case InSession(known_session_id):
                session_id = known_session_id
            case _:  # MCP 2026-07-28
                session_id = None
        listening = isinstance(action, Alone) and action.envelope.method == LISTEN_METHOD
        answer = self._sessions.post(
            session_id,
            arrival.principal,
            arrival.body.decode(),
            headers=arrival.headers.steady.once(_forwarded),
            single_answer=not arrival.accepted.event_stream,
            batch=isinstance(arrival.envelope, Batch),
            routing_key=session_id or routing_key_of(arrival.headers, self._routing_header),
            timeout_seconds=None if listening else self._request_timeout_seconds,
        )
        if listening:
            await self._carry_listening(answer, arrival, relay)
        else:
            await relay.carry(answer, self._end_of_requests)


async def _ask_again(door: Door, arrival: Arrival, shut_out: Signal) -> None:
    """Ask the door again and again about a listener; tells `shut_out` once it says no. Never fails.

    Where nobody can tell, the stream goes on: it is asked again.
    """
    while True:
        await asyncio.sleep(max(door.ask_again_seconds, _LEAST_ASK_AGAIN_SECONDS))
        try:
            entry = await door.enter(arrival.headers)
            if entry.refusal is None and arrival.envelope is not None:
                entry = door.permit(entry, arrival.envelope)
        except Exception:
            logger.exception("a listener could not be looked at again")
            continue
        if entry.refusal is not None and entry.refusal.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.debug("a listener is not let in any more: %d", entry.refusal.status)
            shut_out.tell()
            return


def _headers_of(exchange: HttpExchange) -> Headers:
    """Read the headers of a request, as far as they differ from those before on its connection."""
    before = exchange.memory
    return Headers(exchange.headers, before if isinstance(before, SteadyHeaders) else None)


def _remember(exchange: HttpExchange, headers: Headers) -> None:
    """Keep what the next request on the connection may bring again."""
    if headers.steady is not exchange.memory:
        exchange.memory = headers.steady if headers.steady.worth_keeping else None


def _forwarded(headers: SteadyHeaders) -> list[tuple[str, str]]:
    """Pick the headers that MCP 2026-07-28 compares with the message."""
    return [pair for pair in headers.pairs() if pair[0].startswith("mcp-")][:MAX_HEADERS]
