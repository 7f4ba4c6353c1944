"""Carries the events of one answer to one client: JSON or stream, liveness, errors, going away.

Above lies `endpoint`, which decides whom to ask; below lie `reply` (bytes out) and `session_client`
(events in). Invariants: exactly one HTTP response is written, and it is ended; a call is read to
its end or cancelled; whatever became of the answer stands in the request's span.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#streamable-http
"""

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from linkspan_contract.envelope import RequestId, encode_error
from linkspan_worker.admission import Era, http_status_of_error
from linkspan_worker.failures import SHUTTING_DOWN, Refusal
from linkspan_worker.headers import Accepted
from linkspan_worker.http import ClientGoneError, HttpExchange
from linkspan_worker.refusals import refusals
from linkspan_worker.reply import HeaderPairs, Reply
from linkspan_worker.request_span import RequestSpan
from linkspan_worker.session_client import (
    Answer,
    Event,
    Message,
    MessageKind,
    Nothing,
    SessionCallError,
    StreamOpened,
)
from linkspan_worker.signals import Signal, Ticker

logger = logging.getLogger(__name__)

_TAKEN_SECONDS: Final = 5.0
"""How long a request whose client has gone may take to reach its session server."""

_END_SECONDS: Final = 1.0
"""How long a call may go on after its last event."""

# As constants, because protobuf looks each up anew.
_RESULT: Final = MessageKind.MESSAGE_KIND_RESULT
_ERROR: Final = MessageKind.MESSAGE_KIND_ERROR


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends a reply before its answer is complete.

    Attributes:
        when: Ends it when it happens.
        at_most_seconds: Ends it after this time, too.
        also_when: Ends it when this happens, too.
        quietly: Whether it just ends, because it is not an answer that the client waits for.
    """

    when: Signal
    at_most_seconds: float | None = None
    quietly: bool = False
    also_when: Signal | None = None

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Whatever ends it by happening."""
        return (self.when,) if self.also_when is None else (self.when, self.also_when)

    @property
    def happened(self) -> bool:
        """Whether any of them has."""
        return self.when.happened or (self.also_when is not None and self.also_when.happened)


class Liveliness:
    """When to show that streams live."""

    def __init__(self, comment_every_seconds: float) -> None:
        """Make it for all relays.

        Args:
            comment_every_seconds: How long a stream may be silent before a comment is sent.
        """
        self.comment_every_seconds: Final = comment_every_seconds
        self.ticker: Final = Ticker(comment_every_seconds / 5)


class Relay:
    """One request's way back."""

    __slots__ = (
        "_accepted",
        "_batch",
        "_collected",
        "_era",
        "_exchange",
        "_liveliness",
        "_request_id",
        "_said_at",
        "headers",
        "reply",
        "span",
    )

    def __init__(
        self,
        exchange: HttpExchange,
        reply: Reply,
        span: RequestSpan,
        *,
        era: Era,
        accepted: Accepted,
        request_id: RequestId | None,
        batch: bool,
        liveliness: Liveliness,
    ) -> None:
        """Make a relay.

        Args:
            exchange: The HTTP request, its body read, to learn that the client has gone away.
            reply: The response to write.
            span: The request's span.
            era: Which family of versions the request belongs to.
            accepted: Which kinds of answer the client takes.
            request_id: The id that an error of ours is answered with, if there is one.
            batch: Whether several requests came in one body, and as many answers are owed.
            liveliness: When to show that a stream lives.
        """
        self.reply = reply
        self.span = span
        self.headers: HeaderPairs = ()
        """HTTP headers that go with the answer, unless it is an error before anything else."""
        self._exchange = exchange
        self._era = era
        self._accepted = accepted
        self._request_id = request_id
        self._batch = batch
        self._collected: list[str] = []
        self._liveliness = liveliness
        self._said_at = 0.0
        """When something was last sent."""

    async def carry(self, answer: Answer, ending: Ending) -> None:
        """Carry events to the client until the answer is complete, or it is to end before.

        Args:
            answer: The events.
            ending: What may end them before that.

        Whether it is JSON or a stream is put off until the first event shows what is needed, or
        until silence has to be broken to show that the request lives.

        Raises:
            ClientGoneError: The client went away before the answer was complete.
            SessionCallError: The call failed before the answer was complete.
        """
        look = answer.changed.set  # for whatever happens, one sign to look at everything
        self._exchange.on_gone = look
        for signal in ending.signals:
            signal.watch(look)
        self._liveliness.ticker.watch(look)
        loop = asyncio.get_running_loop()
        started = self._said_at = loop.time()
        lives_until = None if ending.at_most_seconds is None else started + ending.at_most_seconds
        limit = None if lives_until is None else loop.call_at(lives_until, look)
        try:
            while not self.reply.ended:
                answer.changed.clear()
                taken = answer.take()
                if not isinstance(taken, Nothing):
                    await self._forward(taken)
                    self._said_at = loop.time()
                elif taken is Nothing.MORE:
                    await self._finish()
                    return
                elif self._exchange.gone:
                    if self._era is Era.HANDSHAKE:  # there a disconnect takes nothing back
                        await answer.taken(within_seconds=_TAKEN_SECONDS)
                    raise ClientGoneError
                elif ending.happened or (lives_until and loop.time() >= lives_until):
                    await self._stop(ending)
                    return
                elif loop.time() - self._said_at >= self._liveliness.comment_every_seconds:
                    await self._show_life()
                    self._said_at = loop.time()
                else:
                    await answer.changed.wait()
            await _let_end(answer)
        finally:
            answer.cancel()
            self._exchange.on_gone = None
            for signal in ending.signals:
                signal.unwatch(look)
            self._liveliness.ticker.unwatch(look)
            if limit is not None:
                limit.cancel()

    async def refuse(self, refusal: Refusal, *, resumable: bool = False) -> None:
        """Answer with an error, as the body or as an event, unless the answer is out already.

        A stream just ends if its client can come back for the rest (`resumable`).
        """
        self.span.refused(refusal)
        refusals.add(1, {"reason": refusal.error_type})
        if self.reply.ended:
            return
        text = encode_error(self._request_id, refusal.code, refusal.message, refusal.data)
        if not self.reply.streaming:
            await self.reply.json(refusal.status, text, refusal.headers)
            return
        if self._request_id is not None and not resumable:
            await self.reply.event(text)
        await self.reply.end_stream()

    async def _forward(self, event: Event) -> None:
        match event.WhichOneof("event"):
            case "message":
                await self._forward_message(event.message)
            case "stream_opened":
                await self._open_stream(event.stream_opened)
            case "accepted":
                self.span.link(event.accepted.linked_traceparent)
                await self.reply.empty(HTTPStatus.ACCEPTED)
            case "ended":
                await self.reply.empty(HTTPStatus.OK)
            case _:  # an event of a newer contract: not for this worker
                logger.debug("skipped an event of an unknown kind")

    async def _open_stream(self, opened: StreamOpened) -> None:
        self.span.link(opened.linked_traceparent)
        if not self._accepted.event_stream:  # it gets the answer alone, whatever that took
            return
        if not self.reply.streaming:
            await self.reply.begin_stream(self.headers)
        if opened.event_id:
            await self.reply.priming(opened.event_id, opened.retry_millis)

    async def _forward_message(self, message: Message) -> None:
        kind = message.kind
        if kind not in (_RESULT, _ERROR):
            if self._accepted.event_stream:
                await self._stream(message)
            return
        status: int = HTTPStatus.OK
        if kind == _ERROR:
            self.headers = ()  # a handshake that failed leaves no session to name
            self.span.failed(message.error_code)
            status = http_status_of_error(self._era, message.error_code)
        else:
            self.span.answered(tool_error=message.tool_error)
        if self._batch and not self._accepted.event_stream:
            self._collected.append(message.json)
            return
        one_body = not self.reply.streaming and not self._batch
        wants_body = self._accepted.json and not self._accepted.prefers_stream
        if one_body and (wants_body or status != HTTPStatus.OK):
            await self.reply.json(status, message.json, self.headers)
            return
        await self._stream(message)
        if not self._batch:  # of a batch, the others are still to come
            await self.reply.end_stream()

    async def _stream(self, message: Message) -> None:
        if not self.reply.streaming:
            await self.reply.begin_stream(self.headers)
        await self.reply.event(message.json, message.event_id)

    async def _stop(self, ending: Ending) -> None:
        """End the reply before its answer; whoever cannot come back for the rest is told why."""
        if self.reply.streaming and (ending.quietly or self._era is Era.HANDSHAKE):
            await self.reply.end_stream()
        else:
            await self.refuse(SHUTTING_DOWN)

    async def _finish(self) -> None:
        """End the reply: no more events will come."""
        if self._collected:
            await self.reply.json(HTTPStatus.OK, f"[{','.join(self._collected)}]", self.headers)
            return
        if not self.reply.streaming:  # an answer without a single event
            await self.reply.begin_stream(self.headers)
        await self.reply.end_stream()

    async def _show_life(self) -> None:
        """Break a silence, if the client takes streams; else it has to wait.

        A handshake is waited for, too: before it has succeeded there is no session to name.
        """
        if not self._accepted.event_stream or (self.headers and not self.reply.streaming):
            return
        if not self.reply.streaming:
            await self.reply.begin_stream(self.headers)
        await self.reply.comment()


async def _let_end(answer: Answer) -> None:
    """Let a call end by itself whose answer is out, so that it counts as done on both sides."""
    try:
        if answer.take() is not Nothing.MORE:
            async with asyncio.timeout(_END_SECONDS):
                await answer.next()
    except SessionCallError as error:
        logger.warning("a call failed after its answer: %s", error)
    except TimeoutError:
        pass
