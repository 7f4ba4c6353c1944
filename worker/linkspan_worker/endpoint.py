"""One request to `/mcp`, from its first header to its last byte: admitted, spanned, forwarded.

Above lies `app`, which routes; below lie `admission` (what it is), `session_client` (who answers)
and `reply` (how it goes back). Holds no state between requests. Invariants: each request has
exactly one `mcp.request` span, refused ones too; every call to a session server is made inside it;
a call whose client has gone is given up, and the session server knows if its handler runs on.
"""

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from opentelemetry import context as otel_context

from linkspan_contract.envelope import INTERNAL_ERROR, Envelope, Request, RequestId, encode_error
from linkspan_contract.limits import MAX_HEADERS, MAX_MESSAGE_BYTES
from linkspan_worker.admission import (
    ALLOWED_METHODS,
    Alone,
    Era,
    InSession,
    Opening,
    Post,
    RefusedError,
    admit_end,
    admit_listen,
    admit_post,
    check_post_headers,
    era_of,
    http_status_of_error,
    method_not_allowed,
    read_body,
    too_large,
)
from linkspan_worker.failures import Refusal, refusal_of
from linkspan_worker.headers import Accepted, Headers
from linkspan_worker.reply import Reply, Send
from linkspan_worker.request_span import RequestSpan
from linkspan_worker.session_client import (
    Answer,
    Event,
    Message,
    MessageKind,
    Principal,
    SessionCallError,
    SessionClient,
)

logger = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

ANONYMOUS: Final = Principal()
"""Whom every session belongs to as long as nobody is asked who they are."""

_SESSION_ID_BYTES: Final = 24
_INIT_TIMEOUT_SECONDS: Final = 10.0


class ClientGoneError(Exception):
    """The client went away; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class _Listen:
    session_id: str


@dataclass(frozen=True, slots=True)
class _End:
    session_id: str


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A request as far as it could be read and judged without asking anybody."""

    era: Era
    accepted: Accepted
    envelope: Envelope | None = None
    body: bytes = b""
    action: Post | _Listen | _End | None = None
    refused: RefusedError | None = None
    gone: bool = False

    @property
    def request_id(self) -> RequestId | None:
        if isinstance(self.envelope, Request):
            return self.envelope.id
        return self.refused.request_id if self.refused else None


class McpEndpoint:
    """Answers requests to `/mcp`."""

    def __init__(
        self,
        sessions: SessionClient,
        *,
        request_timeout_seconds: float,
        comment_every_seconds: float,
    ) -> None:
        """Make the endpoint.

        Args:
            sessions: Who answers.
            request_timeout_seconds: How long a request may take; listening streams may take longer.
            comment_every_seconds: How long a stream may be silent before a comment is sent.
        """
        self._sessions = sessions
        self._request_timeout_seconds = request_timeout_seconds
        self._comment_every_seconds = comment_every_seconds
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """End the listening streams, which would not end by themselves."""
        self._draining.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started_nanos = time.time_ns()
        headers = Headers(scope["headers"])
        arrival = await self._arrive(scope["method"], headers, receive)
        span = RequestSpan(scope, headers, arrival.envelope, started_nanos=started_nanos)
        reply = Reply(send)
        token = otel_context.attach(span.context)
        try:
            await self._answer(_Exchange(arrival, headers, receive, reply, span))
        except ClientGoneError:
            span.client_gone()
        finally:
            otel_context.detach(token)
            span.end(reply.status)

    # --- judging ---------------------------------------------------------------------------------

    async def _arrive(self, method: str, headers: Headers, receive: Receive) -> _Arrival:
        era = era_of(headers)
        accepted = Accepted(json=True, event_stream=True)
        envelope: Envelope | None = None
        try:
            match method:
                case "POST":
                    accepted = check_post_headers(headers)
                    body = await _read(receive)
                    envelope = read_body(body)
                    action = admit_post(envelope, headers)
                    return _Arrival(era, accepted, envelope, body, action)
                case "GET":
                    return _Arrival(era, accepted, action=_Listen(admit_listen(headers)))
                case "DELETE":
                    return _Arrival(era, accepted, action=_End(admit_end(headers)))
                case "OPTIONS":
                    return _Arrival(era, accepted)
                case _:
                    raise RefusedError(method_not_allowed())  # noqa: TRY301 - a rung like the others
        except RefusedError as refused:
            return _Arrival(era, accepted, envelope, refused=refused)
        except ClientGoneError:
            return _Arrival(era, accepted, gone=True)

    # --- answering -------------------------------------------------------------------------------

    async def _answer(self, exchange: "_Exchange") -> None:
        arrival = exchange.arrival
        if arrival.gone:
            raise ClientGoneError
        try:
            if arrival.refused is not None:
                await exchange.refuse(arrival.refused.refusal)
                return
            match arrival.action:
                case None:
                    await exchange.reply.empty(HTTPStatus.NO_CONTENT, [("allow", ALLOWED_METHODS)])
                case _Listen(session_id):
                    await self._listen(exchange, session_id)
                case _End(session_id):
                    await self._end(exchange, session_id)
                case _:
                    await self._post(exchange, arrival.action)
        except SessionCallError as error:
            await exchange.refuse(refusal_of(error.failure))
        except (ClientGoneError, asyncio.CancelledError):
            raise
        except Exception:
            correlation_id = uuid.uuid4().hex
            logger.exception("a request failed; correlation id %s", correlation_id)
            data = {"correlationId": correlation_id}
            await exchange.refuse(
                Refusal(500, INTERNAL_ERROR, "Internal server error", "internal", data=data)
            )

    async def _post(self, exchange: "_Exchange", action: Post) -> None:
        session_id: str | None = None
        reply_headers: list[tuple[str, str]] = []
        match action:
            case Opening():
                session_id = secrets.token_urlsafe(_SESSION_ID_BYTES)
                exchange.span.name_session(session_id)
                timeout = min(_INIT_TIMEOUT_SECONDS, self._request_timeout_seconds)
                await self._sessions.init(session_id, ANONYMOUS, timeout_seconds=timeout)
                reply_headers.append(("mcp-session-id", session_id))
            case InSession(known_session_id):
                session_id = known_session_id
            case Alone():
                pass
        answer = self._sessions.post(
            session_id,
            ANONYMOUS,
            exchange.arrival.body.decode(),
            headers=_forwarded(exchange.headers),
            single_answer=not exchange.arrival.accepted.event_stream,
            timeout_seconds=self._request_timeout_seconds,
        )
        await self._pump(exchange, answer, reply_headers)

    async def _listen(self, exchange: "_Exchange", session_id: str) -> None:
        answer = self._sessions.listen(session_id, ANONYMOUS)
        await self._pump(exchange, answer, [], until=self._draining)

    async def _end(self, exchange: "_Exchange", session_id: str) -> None:
        answer = self._sessions.end(
            session_id, ANONYMOUS, timeout_seconds=self._request_timeout_seconds
        )
        await self._pump(exchange, answer, [])

    async def _pump(
        self,
        exchange: "_Exchange",
        answer: Answer,
        headers: list[tuple[str, str]],
        *,
        until: asyncio.Event | None = None,
    ) -> None:
        """Carry events from the session server to the client until one of them is done.

        Whether the answer is JSON or a stream is put off until the first event shows what is
        needed, or until silence has to be broken to show that the request lives.
        """
        gone = asyncio.ensure_future(_disconnected(exchange.receive))
        stop = asyncio.ensure_future(until.wait()) if until is not None else None
        others = {gone} if stop is None else {gone, stop}
        step = asyncio.ensure_future(answer.next())
        try:
            while True:
                await asyncio.wait(
                    {step, *others},
                    timeout=self._comment_every_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if step.done():
                    event = step.result()
                    if event is None:
                        await exchange.finish(headers)
                        return
                    await exchange.forward(event, headers)
                    step = asyncio.ensure_future(answer.next())
                elif gone.done():
                    raise ClientGoneError
                elif stop is not None and stop.done():
                    await exchange.finish(headers)
                    return
                else:
                    await exchange.show_life(headers)
        finally:
            answer.cancel()
            for future in (step, *others):
                future.cancel()


@dataclass(slots=True)
class _Exchange:
    """One request and the reply to it, as far as it has got."""

    arrival: _Arrival
    headers: Headers
    receive: Receive
    reply: Reply
    span: RequestSpan
    streaming: bool = False

    async def forward(self, event: Event, headers: list[tuple[str, str]]) -> None:
        """Send one event of the session server on to the client."""
        match event.WhichOneof("event"):
            case "message":
                await self._forward_message(event.message, headers)
            case "listening":
                await self._commit(headers)
            case "accepted":
                await self.reply.empty(HTTPStatus.ACCEPTED)
            case "ended":
                await self.reply.empty(HTTPStatus.OK)
            case _:  # an event of a newer contract: not for this worker
                logger.debug("skipped an event of an unknown kind")

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error: as the body, or as an event if a stream has begun."""
        self.span.refused(refusal)
        text = encode_error(self.arrival.request_id, refusal.code, refusal.message, refusal.data)
        if not self.streaming:
            await self.reply.json(refusal.status, text, refusal.headers)
            return
        if self.arrival.request_id is not None:
            await self.reply.event(text)
        await self.reply.end_stream()

    async def finish(self, headers: list[tuple[str, str]]) -> None:
        """End the reply: no more events will come."""
        if self.streaming:
            await self.reply.end_stream()
        elif self.reply.status is None:  # an answer without a single event
            await self._commit(headers)
            await self.reply.end_stream()

    async def show_life(self, headers: list[tuple[str, str]]) -> None:
        """Break a silence, if the client takes streams; else it has to wait."""
        if not self.arrival.accepted.event_stream:
            return
        await self._commit(headers)
        await self.reply.comment()

    async def _forward_message(self, message: Message, headers: list[tuple[str, str]]) -> None:
        final = message.kind in (MessageKind.MESSAGE_KIND_RESULT, MessageKind.MESSAGE_KIND_ERROR)
        if message.kind == MessageKind.MESSAGE_KIND_ERROR:
            self.span.failed(message.error_code)
        elif final:
            self.span.answered(tool_error=message.tool_error)
        if final and not self.streaming:
            status: int = HTTPStatus.OK
            if message.kind == MessageKind.MESSAGE_KIND_ERROR:
                status = http_status_of_error(self.arrival.era, message.error_code)
            if self.arrival.accepted.json or status != HTTPStatus.OK:
                await self.reply.json(status, message.json, headers)
                return
        await self._commit(headers)
        await self.reply.event(message.json)

    async def _commit(self, headers: list[tuple[str, str]]) -> None:
        if not self.streaming:
            self.streaming = True
            await self.reply.begin_stream(headers)


async def _read(receive: Receive) -> bytes:
    """Read the whole body, as far as the limit allows.

    Raises:
        RefusedError: 413, it is over the limit.
        ClientGoneError: The client went away.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > MAX_MESSAGE_BYTES:
            raise RefusedError(too_large())
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _disconnected(receive: Receive) -> None:
    """Return when the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _forwarded(headers: Headers) -> list[tuple[str, str]]:
    """Pick the headers that MCP 2026-07-28 compares with the message."""
    return [pair for pair in headers.pairs() if pair[0].startswith("mcp-")][:MAX_HEADERS]
