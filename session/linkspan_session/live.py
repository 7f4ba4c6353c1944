"""One session in memory: its connection, what it runs, what it asks, the streams that are open.

Above lies `host`, which finds sessions and keeps their records; below lie `kernel` and `streams`.
Lives on the event loop only: between two awaits nothing else changes a session. A session at rest
holds no task and no stream.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_contract.envelope import JsonObject, Request
from linkspan_propagation import inject_into_fields
from linkspan_session.answers import LOST, SESSION_ENDED, UNDELIVERED, AskError, OnProgress
from linkspan_session.asks import Asks
from linkspan_session.calls import RunningCalls
from linkspan_session.errors import EventUnknownError, StoreUnavailableError
from linkspan_session.events import answer_event, notification_event
from linkspan_session.exchange import Exchange
from linkspan_session.kernel import HostedServer, has_priming_events
from linkspan_session.store import EventLog, SessionRecord, StreamRecord
from linkspan_session.streams import (
    AnswerStream,
    EventStream,
    Resumption,
    call_stream_record,
    listening_stream_id,
    listening_stream_record,
    parse_event_id,
)

logger = logging.getLogger(__name__)


class CallOutlet:
    """Where the handler of one call speaks to the client: on the stream of that call."""

    def __init__(self, stream: AnswerStream, asks: Asks | None) -> None:
        """Make an outlet.

        Args:
            stream: The stream of the call's answer.
            asks: Where answers of the client are waited for; None if none can come, because the
                protocol version has no requests to the client or the client takes one answer only.
        """
        self._stream = stream
        self._asks = asks

    @property
    def can_ask(self) -> bool:
        """See `Outlet.can_ask`."""
        return self._asks is not None

    async def tell(self, method: str, params: Mapping[str, Any] | None) -> None:
        """See `Outlet.tell`."""
        await self._stream.send(notification_event(method, params))

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        *,
        timeout_seconds: float | None,
        on_progress: OnProgress | None,
    ) -> JsonObject:
        """See `Outlet.ask`."""
        if self._asks is None:
            raise AskError(UNDELIVERED)
        return await self._asks.ask(
            self._stream.send,
            method,
            params,
            timeout_seconds=timeout_seconds,
            on_progress=on_progress,
        )


class SilentOutlet(CallOutlet):
    """A call's outlet for a client that takes the answer and nothing before it."""

    def __init__(self, stream: AnswerStream) -> None:
        super().__init__(stream, None)

    async def tell(self, method: str, params: Mapping[str, Any] | None) -> None:  # noqa: ARG002
        """Drop the notification: the client said it does not take any."""
        logger.debug("dropped %s: the client accepts no event stream", method)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How the streams of sessions behave.

    Attributes:
        open_after_seconds: How long a call may be silent before its stream is opened, so that its
            answer survives a broken connection.
        retry_millis: How long a client should wait before it resumes.
        max_buffered_bytes: How far a reader may fall behind.
        stall_seconds: How long a reader may take nothing while a handler waits for it.
    """

    open_after_seconds: float
    retry_millis: int
    max_buffered_bytes: int
    stall_seconds: float

    def new_exchange(self) -> Exchange:
        """Make the exchange of one call to this session server."""
        return Exchange(
            max_buffered_bytes=self.max_buffered_bytes, stall_seconds=self.stall_seconds
        )


class LiveSession:
    """A session that is being used. It is its own outlet for what is said outside of any call."""

    def __init__(
        self,
        record: SessionRecord,
        hosted: HostedServer,
        tasks: asyncio.TaskGroup,
        log: EventLog,
        settings: StreamSettings,
        now_millis: Callable[[], int],
    ) -> None:
        """Build a session from its record.

        Args:
            record: The session at rest.
            hosted: The user's server.
            tasks: Owns every handler's task.
            log: Where events are on record.
            settings: How streams behave.
            now_millis: The wall clock, in milliseconds since the Unix epoch.
        """
        self.record = record
        self.calls = RunningCalls(tasks)
        self.asks = Asks()
        self.ended = False
        self.initializing = False
        self._tasks = tasks
        self._log = log
        self._settings = settings
        self._now_millis = now_millis
        self._streams: dict[str, EventStream] = {}
        self._never_listened = False
        if record.handshake is None:
            self.connection = hosted.connect(record.session_id, self)
        else:
            self.connection = hosted.reconnect(record.session_id, self, record.handshake)

    @property
    def resumption(self) -> Resumption:
        """What this session's client is told about coming back."""
        return Resumption(
            priming=has_priming_events(self.connection.protocol_version),
            retry_millis=self._settings.retry_millis,
        )

    # --- streams of calls ------------------------------------------------------------------------

    def open_call(self, request: Request, exchange: Exchange) -> EventStream:
        """Make the stream of a request's answer; it is on record once it is needed."""
        traceparent = inject_into_fields().get("traceparent", "")
        record = call_stream_record(
            self.record.session_id, request.id, traceparent, self._now_millis()
        )
        stream = EventStream(self._log, record, self.resumption, exchange)
        self._streams[record.stream_id] = stream
        return stream

    def watch_call(self, stream: EventStream, task: "asyncio.Task[None]") -> None:
        """Open a call's stream if it is silent for long, and let go of it when the call is over."""
        timer = asyncio.get_running_loop().call_later(
            self._settings.open_after_seconds, self._open_silent, stream
        )

        def let_go(_: object) -> None:
            timer.cancel()
            self._streams.pop(stream.record.stream_id, None)

        task.add_done_callback(let_go)

    async def resume(self, event_id: str, exchange: Exchange) -> None:
        """Let a client that comes back read on behind the last event that it saw.

        Raises:
            EventUnknownError: The event is not one of this session, or no longer on record.
        """
        stream_id, sequence = parse_event_id(event_id)
        if stream_id == listening_stream_id(self.record.session_id):
            stream = await self._listening_stream(create=False)
        else:
            stream = self._streams.get(stream_id)
        if stream is not None:
            await stream.attach(exchange, after=sequence)
            return
        record = await self._log.get_stream(self.record.session_id, stream_id)
        if record is None:
            raise EventUnknownError
        stream = EventStream(self._log, record, self.resumption, None, opened=True)
        await stream.attach(exchange, after=sequence)
        if record.finished or record.request_id is None:
            stream.close_reader()
        else:  # its handler went with the process that ran it
            await stream.finish(answer_event(record.request_id, LOST))

    # --- the listening stream, and what goes out on it -------------------------------------------

    @property
    def can_ask(self) -> bool:
        """See `Outlet.can_ask`."""
        stream = self._streams.get(listening_stream_id(self.record.session_id))
        return stream is not None and stream.has_reader

    async def tell(self, method: str, params: Mapping[str, Any] | None) -> None:
        """See `Outlet.tell`; goes out on the listening stream, which is cut if it lags behind."""
        if not await self._say(notification_event(method, params)):
            logger.debug("dropped %s: the client does not listen", method)

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        *,
        timeout_seconds: float | None,
        on_progress: OnProgress | None,
    ) -> JsonObject:
        """See `Outlet.ask`; goes out on the listening stream."""
        return await self.asks.ask(
            self._say, method, params, timeout_seconds=timeout_seconds, on_progress=on_progress
        )

    async def listen(self, exchange: Exchange) -> None:
        """Open the listening stream, from now on; the reader before this one ends."""
        stream = await self._listening_stream(create=True)
        if stream is not None:
            await stream.attach(exchange, after=None)

    def stop_listening(self) -> None:
        """End what reads the listening stream, if anybody does."""
        stream = self._streams.get(listening_stream_id(self.record.session_id))
        if stream is not None:
            stream.close_reader()

    async def close_listening(self) -> None:
        """End what reads the listening stream because a handler wants it so (SEP-1699)."""
        self.stop_listening()

    def end(self) -> None:
        """Stop all there is of it: calls are answered, streams end, waits are over."""
        self.ended = True
        for stream in self._streams.values():
            stream.forget()
        self.calls.stop_all(SESSION_ENDED)
        self.asks.give_up()
        self.stop_listening()

    async def _say(self, event: HandleRequestResponse) -> bool:
        try:
            stream = await self._listening_stream(create=False)
        except StoreUnavailableError:
            return False
        return stream is not None and await stream.send_or_cut_off(event)

    async def _listening_stream(self, *, create: bool) -> EventStream | None:
        """Find the listening stream; None if the client has never listened, unless to create it."""
        session_id = self.record.session_id
        stream_id = listening_stream_id(session_id)
        if stream_id in self._streams:
            return self._streams[stream_id]
        if self._never_listened and not create:
            return None
        if create:
            described = listening_stream_record(session_id, self._now_millis())
            record: StreamRecord | None = await self._log.open_stream(described)
        else:
            record = await self._log.get_stream(session_id, stream_id)
        if record is None:
            self._never_listened = True
            return None
        stream = EventStream(self._log, record, self.resumption, None, opened=True)
        return self._streams.setdefault(stream_id, stream)

    def _open_silent(self, stream: EventStream) -> None:
        self._tasks.create_task(stream.open())
