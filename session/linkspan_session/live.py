"""One session in memory: its connection, what it runs, what it asks, the streams that are open.

Above lies `host`, which finds sessions and keeps their records; below lie `kernel` and `streams`.
Lives on the event loop only: between two awaits nothing else changes a session. A session at rest
holds no task and no stream.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from opentelemetry.trace import get_current_span

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_contract.envelope import JsonObject, Request
from linkspan_propagation import format_traceparent, inject_into_fields
from linkspan_session.answers import LOST, SESSION_ENDED, OnProgress
from linkspan_session.asks import Asks
from linkspan_session.calls import RunningCalls
from linkspan_session.errors import (
    EventUnknownError,
    SessionElsewhereError,
    SessionError,
    SessionMovedError,
    StoreUnavailableError,
)
from linkspan_session.events import answer_event, notification_event
from linkspan_session.exchange import Exchange
from linkspan_session.journal import Journal
from linkspan_session.kernel import HostedServer, has_priming_events
from linkspan_session.storage.data import SessionData
from linkspan_session.store import (
    Changes,
    Ownership,
    SessionRecord,
    SessionStore,
    StreamRecord,
)
from linkspan_session.stream_ids import (
    call_stream_record,
    listening_stream_id,
    listening_stream_record,
    parse_event_id,
)
from linkspan_session.streams import EventStream, Resumption

logger = logging.getLogger(__name__)


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
        store: SessionStore,
        hosted: HostedServer,
        tasks: asyncio.TaskGroup,
        settings: StreamSettings,
        now_millis: Callable[[], int],
        *,
        max_storage_bytes: int,
        ends_millis: int,
        on_lost: Callable[["LiveSession"], None],
    ) -> None:
        """Build a session from its record.

        Args:
            record: The session at rest, owned by this session server.
            store: Where it is on record.
            hosted: The user's server.
            tasks: Owns every handler's task.
            settings: How streams behave.
            now_millis: The wall clock, in milliseconds since the Unix epoch.
            max_storage_bytes: How much its storage may hold.
            ends_millis: From when on nobody may use it, in milliseconds since the Unix epoch.
            on_lost: Called once, when another session server turns out to own it.
        """
        self.record = record
        self.journal = Journal(
            store,
            Ownership(record.session_id, record.owner, record.epoch),
            lambda: on_lost(self),
        )
        self.data = SessionData(
            self.journal.read_storage, self._commit_storage, max_bytes=max_storage_bytes
        )
        self.preferences_turn = asyncio.Lock()
        """Held by the request that is changing the preferences, until they are on record."""
        self.calls = RunningCalls(tasks)
        self.asks = Asks()
        self.ended = False
        self.doubtful = False
        """Whether another session server may own it by now, because the lease had run out."""
        self.initializing = False
        self.users = 0
        """How many do something with it right now that is not one of its calls."""
        self.ends_millis = ends_millis
        self.used_millis = record.last_active_millis
        """When it was last used, in milliseconds since the Unix epoch."""
        self.used_at = 0.0
        """When it was last used, in seconds of the event loop's clock."""
        self.since_seconds = time.monotonic()
        """When it came into memory, by `time.monotonic`."""
        self._tasks = tasks
        self._settings = settings
        self._now_millis = now_millis
        self._answers: set[EventStream] = set()
        """The streams of calls that run, and of none else."""
        self._listening: EventStream | None = None
        self._never_listened = False
        if record.handshake is None:
            self.connection = hosted.connect(record.session_id, self)
        else:
            self.connection = hosted.reconnect(record.session_id, self, record.handshake)

    @property
    def resumption(self) -> Resumption:
        """What this session's client is told about coming back."""
        return _resumption(self.connection.protocol_version, self._settings.retry_millis)

    @property
    def idle(self) -> bool:
        """Whether nothing runs in it, nobody listens, and nothing is waited for."""
        return self.unused and not self.can_ask

    @property
    def unused(self) -> bool:
        """Whether nothing runs in it, and nothing is waited for; somebody may listen."""
        return not (self.calls or self.users or self.initializing)

    async def _commit_storage(self, writes: Mapping[str, bytes | None]) -> None:
        await self.journal.commit(Changes(storage=writes))

    # --- streams of calls ------------------------------------------------------------------------

    def open_call(self, request: Request, request_key: str, exchange: Exchange) -> EventStream:
        """Make the stream of a request's answer; it is on record once it is needed."""
        here = get_current_span().get_span_context()

        def describe() -> StreamRecord:
            traceparent = ""
            if here.is_valid:
                traceparent = format_traceparent(here.trace_id, here.span_id, here.trace_flags)
            return call_stream_record(
                self.record.session_id, request.id, request_key, traceparent, self._now_millis()
            )

        stream = EventStream(self.journal, describe, self.resumption, exchange)
        self._answers.add(stream)
        return stream

    def take_up(self, record: StreamRecord) -> EventStream:
        """Make the stream of a request that began in another process, to go on with it."""
        stream = EventStream(self.journal, record, self.resumption, None, opened=True)
        self._answers.add(stream)
        return stream

    def drop(self, stream: EventStream) -> None:
        """Let go of a call's stream that nothing will write to; who reads it is to ask again."""
        self._answers.discard(stream)
        stream.fail(SessionMovedError())

    def watch_call(self, stream: EventStream, *, silent: bool) -> None:
        """Let go of a call's stream when the call is over.

        Args:
            stream: The stream.
            silent: Whether to leave the stream unopened, however long the call says nothing.
        """
        loop = asyncio.get_running_loop()
        timer = None
        if not silent:
            timer = loop.call_later(self._settings.open_after_seconds, self._open_silent, stream)

        def let_go() -> None:
            if timer is not None:
                timer.cancel()
            self._answers.discard(stream)
            self.used_at = loop.time()

        stream.on_abort = let_go

    def stream_of(self, request_key: str) -> EventStream | None:
        """Find the stream of a request that runs here, by the request's key."""
        if not request_key:
            return None
        for stream in self._answers:
            if stream.record.request_key == request_key and not stream.over:
                return stream
        return None

    def _stream_named(self, stream_id: str) -> EventStream | None:
        """Find a stream of a request that runs here, by its name on record."""
        for stream in self._answers:
            if stream.opened and stream.record.stream_id == stream_id:
                return stream
        return None

    async def resume(self, event_id: str, exchange: Exchange) -> None:
        """Let a client that comes back read on behind the last event that it saw.

        Raises:
            EventUnknownError: The event is not one of this session, or no longer on record.
        """
        stream_id, sequence = parse_event_id(event_id)
        if stream_id == listening_stream_id(self.record.session_id):
            stream = await self._listening_stream(create=False)
        else:
            stream = self._stream_named(stream_id)
        if stream is not None:
            await stream.attach(exchange, after=sequence)
            if self.ended:  # or was lost, meanwhile
                raise SessionElsewhereError("")
            return
        record = await self.journal.get_stream(stream_id)
        if record is None:
            raise EventUnknownError
        await self.replay(record, exchange, after=sequence)

    async def replay(
        self, record: StreamRecord, exchange: Exchange, *, after: int, gaps: bool = False
    ) -> None:
        """Let a client read a stream that nothing here writes to any more.

        Raises:
            EventUnknownError: What follows the event is no longer on record.
        """
        stream = EventStream(self.journal, record, self.resumption, None, opened=True)
        await stream.attach(exchange, after=after, gaps=gaps)
        if record.finished or record.request_id is None:
            stream.close_reader()
        else:  # its handler went with the process that ran it
            await stream.finish(answer_event(record.request_id, LOST))

    # --- the listening stream, and what goes out on it -------------------------------------------

    @property
    def can_ask(self) -> bool:
        """See `Outlet.can_ask`."""
        return self._listening is not None and self._listening.has_reader

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
        if stream is None or self.ended:  # it ended, or was lost, meanwhile
            raise SessionElsewhereError("")

    def stop_listening(self) -> None:
        """End what reads the listening stream, if anybody does."""
        if self._listening is not None:
            self._listening.close_reader()

    async def close_listening(self) -> None:
        """End what reads the listening stream because a handler wants it so (SEP-1699)."""
        self.stop_listening()

    def hand_over_listening(self, error: SessionError) -> None:
        """End what reads the listening stream so that its worker opens it again elsewhere."""
        stream, self._listening = self._listening, None
        if stream is not None:
            stream.fail(error)

    def end(self) -> None:
        """Stop all there is of it: calls are answered, streams end, waits are over."""
        self.ended = True
        for stream in self._answers:
            stream.forget()
        if self._listening is not None:
            self._listening.forget()
        self.calls.stop_all(SESSION_ENDED)
        self.asks.give_up()
        self.stop_listening()

    def lose(self) -> None:
        """Stop all there is of it, because another session server owns it: callers ask that one."""
        self.ended = True
        self.calls.stop_all(SessionMovedError())
        self.asks.give_up()
        self.hand_over_listening(SessionMovedError())

    async def _say(self, event: HandleRequestResponse) -> bool:
        try:
            stream = await self._listening_stream(create=False)
            return stream is not None and await stream.send_or_cut_off(event)
        except (StoreUnavailableError, SessionMovedError):
            return False

    async def _listening_stream(self, *, create: bool) -> EventStream | None:
        """Find the listening stream; None if the client has never listened, unless to create it."""
        if self._listening is not None:
            return self._listening
        if self._never_listened and not create:
            return None
        session_id = self.record.session_id
        if create:
            opener = inject_into_fields().get("traceparent", "")
            described = listening_stream_record(session_id, opener, self._now_millis())
            await self.journal.commit(Changes(streams=(described,)))
        record = await self.journal.get_stream(listening_stream_id(session_id))
        if record is None:
            self._never_listened = True
            return None
        if self._listening is None:  # or somebody else has been faster
            self._listening = EventStream(self.journal, record, self.resumption, None, opened=True)
        return self._listening

    def _open_silent(self, stream: EventStream) -> None:
        self._tasks.create_task(_open_unless_moved(stream))


@lru_cache(maxsize=64)
def _resumption(protocol_version: str, retry_millis: int) -> Resumption:
    return Resumption(has_priming_events(protocol_version), retry_millis)


async def _open_unless_moved(stream: EventStream) -> None:
    """Open a stream in a task of its own: what that raised would end the whole server."""
    with suppress(SessionMovedError):  # the session is let go of, and its callers are told
        await stream.open()
