"""The stream of a request's answer that is on record, as its handler writes it.

Above lie `calls` and `live`, which write; below lie `exchange` (the reader of the moment), `stream_ids`
and `journal`. A stream on record has a life of its own: readers come and go, and whoever comes back
with the id of the last event it saw gets what it missed and then what is new. Invariants: an event
is on record before it is sent; events leave in the order of their numbers; an event id belongs to
one stream of one session.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#resumability-and-redelivery
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from linkspan.session.v1.session_pb2 import Message
from linkspan.session.v1.session_service_pb2 import HandleRequestResponse, StreamOpened
from linkspan_session.answer_streams import nothing
from linkspan_session.errors import EventUnknownError, StoreUnavailableError
from linkspan_session.exchange import Exchange
from linkspan_session.journal import Journal
from linkspan_session.store import Changes, EventRecord, StreamRecord
from linkspan_session.stream_ids import event_id

logger = logging.getLogger(__name__)


class Resumption(NamedTuple):
    """What clients are told about coming back.

    Attributes:
        priming: Whether a stream opens with an event id, which versions before 2025-11-25 do not
            expect (SEP-1699).
        retry_millis: How long a client should wait before it comes back.
    """

    priming: bool
    retry_millis: int


class EventStream:
    """A stream on record, opened when there is something to say or silence has been too long."""

    def __init__(
        self,
        journal: Journal,
        record: StreamRecord | Callable[[], StreamRecord],
        resumption: Resumption,
        exchange: Exchange | None,
        *,
        opened: bool = False,
    ) -> None:
        """Make a stream; nothing is put on record before `open`, `send` or `finish`.

        Args:
            journal: Where events are on record.
            record: What is known of the stream; with `last_sequence`, if it was there before. Of one
                that is new, what tells that: most end without being put on record.
            resumption: What clients are told about coming back.
            exchange: The first reader, if there is one.
            opened: Whether the stream is on record already.
        """
        self._record = record
        self._journal = journal
        self._kept = True
        self.resumption = resumption
        self._exchange = exchange
        self._sequence = record.last_sequence if isinstance(record, StreamRecord) else 0
        self._opened = opened
        self._over = False
        self._turn = asyncio.Lock()
        self.on_abort = nothing
        """Called when nothing writes to it any more, because its call is over."""

    @property
    def record(self) -> StreamRecord:
        """What is on record of it, or will be once it is needed."""
        if not isinstance(self._record, StreamRecord):
            self._record = self._record()
        return self._record

    @property
    def opened(self) -> bool:
        """Whether it is on record."""
        return self._opened

    @property
    def over(self) -> bool:
        """Whether nothing more is written to it."""
        return self._over

    @property
    def has_reader(self) -> bool:
        """Whether somebody reads right now."""
        return self._exchange is not None and self._exchange.open

    async def open(self) -> None:
        """Put the stream on record and tell its reader; does nothing the second time."""
        async with self._turn:
            await self._open()

    async def send(self, event: HandleRequestResponse) -> bool:
        """See `AnswerStream.send`; a reader that is away can still come back for it."""
        async with self._turn:
            await self._open()
            recorded = await self._put_on_record(event, last=False)
            if self._exchange is None:
                return recorded
            return await self._exchange.send(event) or recorded

    async def finish(
        self,
        event: HandleRequestResponse,
        changes: Changes | None = None,
        committed: Callable[[], None] = nothing,
    ) -> None:
        """See `AnswerStream.finish`; an answer that came quickly and changed nothing is not kept.

        One that did is on record with what it changed, and so is one that nobody is there to read:
        a request that is sent again gets it.
        """
        if changes is None and not self._opened and self.has_reader and not self._turn.locked():
            self._end(event)
            return
        async with self._turn:
            wanted = changes is not None or not self.has_reader
            if self._opened or (wanted and self.record.request_key):
                await self._put_on_record(event, last=True, changes=changes)
            elif changes is not None:
                await self._journal.commit(changes)
            if changes is not None:
                committed()
            self._end(event)

    def _end(self, event: HandleRequestResponse) -> None:
        """Hand the answer to the reader of the moment, if there is one."""
        self._over = True
        if self._exchange is not None:
            self._exchange.finish(event)

    def fail(self, error: Exception) -> None:
        """See `AnswerStream.fail`."""
        self._over = True
        if self._exchange is not None:
            self._exchange.fail(error)

    def abort(self) -> None:
        """See `AnswerStream.abort`."""
        self._over = True
        self.close_reader()
        self.on_abort()

    def close_reader(self) -> None:
        """End what the reader of the moment reads; the stream goes on (SEP-1699)."""
        if self._exchange is not None:
            self._exchange.finish()
            self._exchange = None

    async def close_on_purpose(self) -> None:
        """End what is read because the handler wants it so; the client knows where to come back."""
        await self.open()
        if self._kept:  # else nobody could come back for the rest
            self.close_reader()

    def forget(self) -> None:
        """Put nothing on record any more: the session is going."""
        self._kept = False
        self._over = True

    def offer(self, event: HandleRequestResponse) -> bool:
        """Send to the reader without waiting; one that lags too far behind is cut off."""
        return self._exchange is not None and self._exchange.offer(event)

    async def send_or_cut_off(self, event: HandleRequestResponse) -> bool:
        """Write without waiting for the reader, for what is said outside of any call.

        Returns:
            Whether somebody reads it, now or after coming back.
        """
        async with self._turn:
            recorded = await self._put_on_record(event, last=False)
            return self.offer(event) or recorded

    async def attach(self, exchange: Exchange, *, after: int | None, gaps: bool = False) -> None:
        """Let a reader read: what it missed, then what is new. The one before it ends.

        Args:
            exchange: The reader.
            after: The number of the last event it has seen; None for what is new only.
            gaps: Whether it will do if not all that follows is kept: the answer matters more.

        Raises:
            EventUnknownError: There is no such event, or what follows it is not kept any more.
        """
        if after is not None and after > self._sequence:
            raise EventUnknownError
        self.close_reader()  # first: a handler that waits for it holds the turn
        async with self._turn:
            if not self._opened and not self._over:  # nothing was said so far
                self._exchange = exchange
                return
            if not self._kept:
                raise EventUnknownError
            missed = await read_missed(self._journal, self.record, after, self._sequence, gaps=gaps)
            seen = self._sequence if after is None else after
            exchange.offer(self._opened_event(seen, resumed=after is not None))
            for event in missed:
                exchange.replay(event)
            self.close_reader()  # whoever came in between
            if self._over:
                exchange.finish()
            else:
                self._exchange = exchange

    async def _open(self) -> None:
        if self._opened or self._over:
            return
        self._opened = True
        if self._kept:
            try:
                await self._journal.commit(Changes(streams=(self.record,)))
            except StoreUnavailableError:
                self._kept = False  # the answer matters more than being able to resume it
                logger.warning("a stream cannot be resumed: the store does not answer")
        if self._exchange is not None:
            await self._exchange.send(self._opened_event(0, resumed=False))

    def _opened_event(self, sequence: int, *, resumed: bool) -> HandleRequestResponse:
        resumable = self.resumption.priming and self._kept
        return HandleRequestResponse(
            stream_opened=StreamOpened(
                event_id=event_id(self.record.stream_id, sequence) if resumable else "",
                retry_millis=self.resumption.retry_millis if resumable else 0,
                linked_traceparent=self.record.traceparent if resumed else "",
            )
        )

    async def _put_on_record(
        self, event: HandleRequestResponse, *, last: bool, changes: Changes | None = None
    ) -> bool:
        """Number a message and put it on record; one that cannot be goes out without a number."""
        if not self._kept:
            if changes is not None:
                await self._journal.commit(changes)
            return False
        writing = asyncio.ensure_future(self._append(event, changes, last=last))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            # The store goes on with what it was given: the turn is kept until it is known how that
            # ended, or the number would be given out twice.
            while not writing.done():
                await asyncio.wait({writing})
            if writing.exception() is None and writing.result():
                self.offer(event)
            raise

    async def _append(
        self, event: HandleRequestResponse, changes: Changes | None, *, last: bool
    ) -> bool:
        sequence = self._sequence + 1
        event.message.event_id = event_id(self.record.stream_id, sequence)
        record = EventRecord(
            self.record.stream_id, sequence, event.message.SerializeToString(), last
        )
        streams = () if self._opened else (self.record,)
        try:
            await self._journal.commit(
                replace(changes or Changes(), streams=streams, events=(record,))
            )
        except StoreUnavailableError:
            event.message.ClearField("event_id")
            if changes is not None:
                raise
            return False
        self._sequence = sequence
        if not self._opened:  # its reader was never told of a stream, only its answer is on record
            self._opened = True
            event.message.ClearField("event_id")
        return True


async def read_missed(
    journal: Journal, stream: StreamRecord, after: int | None, newest: int, *, gaps: bool = False
) -> list[HandleRequestResponse]:
    """Read what a reader missed, as events; nothing if `after` is None.

    Raises:
        EventUnknownError: There is no such event, or what follows it is not kept any more.
    """
    if after is None:
        return []
    if after > newest:
        raise EventUnknownError
    kept = await journal.read_events(stream.stream_id, after=after)
    if after < newest and not gaps and (not kept or kept[0][0] != after + 1):
        raise EventUnknownError
    return [HandleRequestResponse(message=Message.FromString(message)) for _, message in kept]
