"""The stream of one answer: a handler writes events, one reader takes them, either may go away.

An exchange belongs to one `HandleRequest` call. The handler and the call have lives of their own:
in the handshake era a handler outlives a call whose client went away, so writing to an exchange
without a reader is no error, it just says so. Invariants: events are read in the order they were
written; nothing follows the last one; a buffer never holds more than its bound and one event, or
what its reader has missed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from opentelemetry import metrics

from linkspan.session.v1.session_service_pb2 import HandleRequestResponse
from linkspan_process.metrics.catalog import counter
from linkspan_session.metrics_table import CUT_OFFS

DEFAULT_MAX_BUFFERED_BYTES: Final = 8 * 1024 * 1024
"""How far a reader may fall behind, in bytes of protobuf."""


DEFAULT_STALL_SECONDS: Final = 30.0
"""How long a reader may take nothing while a handler waits for it."""

logger = logging.getLogger(__name__)

_cut_offs = counter(metrics.get_meter("linkspan.session"), CUT_OFFS)


class Exchange:
    """A bounded, ordered stream of events with one reader."""

    def __init__(
        self,
        *,
        max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES,
        stall_seconds: float = DEFAULT_STALL_SECONDS,
        on_detach: Callable[[], None] | None = None,
    ) -> None:
        """Make an empty stream.

        Args:
            max_buffered_bytes: How far the reader may fall behind, in bytes of protobuf.
            stall_seconds: How long a handler waits for a reader that takes nothing.
            on_detach: Called once if the reader goes away before the stream has ended.
        """
        self.on_detach = on_detach
        self._max_buffered_bytes = max_buffered_bytes
        self._stall_seconds = stall_seconds
        self._events: deque[tuple[HandleRequestResponse, int]] = deque()
        """What is written and not yet read, each with its size in bytes of protobuf."""
        self._buffered_bytes = 0
        self._waiting: list[asyncio.Future[None]] = []
        """Who waits for a change: the reader for events, handlers for room."""
        self._finished = False
        self._detached = False
        self._error: Exception | None = None

    @property
    def buffered_bytes(self) -> int:
        """How far its reader is behind, in bytes of protobuf."""
        return self._buffered_bytes

    @property
    def open(self) -> bool:
        """Whether what is written now can still reach the reader."""
        return not (self._finished or self._detached)

    async def send(self, event: HandleRequestResponse) -> bool:
        """Write an event, waiting while the reader is too far behind.

        This is how a slow reader slows its handler down. One that takes nothing at all for the
        stall time is cut off. Cancelling it writes nothing.

        Returns:
            Whether there was a reader to write for.
        """
        while self.open and self._buffered_bytes >= self._max_buffered_bytes:
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await self._change()
            except TimeoutError:
                self._cut_off("stalled")
        return self._append(event)

    def offer(self, event: HandleRequestResponse) -> bool:
        """Write an event at once, or finish the stream if the reader is too far behind.

        Returns:
            Whether it was written.
        """
        if self.open and self._buffered_bytes >= self._max_buffered_bytes:
            self._cut_off("backlog")
        return self._append(event)

    def replay(self, event: HandleRequestResponse) -> None:
        """Write an event that was on record: what a reader missed is bounded by the event log."""
        self._append(event)

    def finish(self, event: HandleRequestResponse | None = None) -> None:
        """End the stream, after one last event if given; does nothing if it has ended."""
        if event is not None:
            self._append(event)
        self._finished = True
        if self._waiting:
            self._tell()

    def fail(self, error: Exception) -> None:
        """End the stream with an error, which the reader gets after the events before it."""
        if self.open:
            self._error = error
            self.finish()

    def detach(self) -> None:
        """Say that the reader is gone; what is buffered is dropped."""
        if self.open and self.on_detach is not None:
            self.on_detach()
        self._detached = True
        self._events.clear()
        self._buffered_bytes = 0
        self._tell()

    async def take(self) -> HandleRequestResponse | None:
        """Take the next event as soon as there is one; None at the end of the stream.

        Cancelling it takes nothing.

        Raises:
            Exception: What the stream failed with.
        """
        while not self._events:
            if self._finished:
                if self._error is not None:
                    raise self._error
                return None
            await self._change()
        event, size_bytes = self._events.popleft()
        self._buffered_bytes -= size_bytes
        if self._waiting:
            self._tell()
        return event

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def _tell(self) -> None:
        """Wake whoever waits, to look anew."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _cut_off(self, reason: str) -> None:
        """End a stream whose reader does not keep up; on record, it can be resumed."""
        logger.warning("cut off a reader: %s at %d bytes", reason, self._buffered_bytes)
        _cut_offs.add(1, {"reason": reason})
        self.finish()

    def _append(self, event: HandleRequestResponse) -> bool:
        if self._finished or self._detached:
            return False
        size_bytes = event.ByteSize()
        self._events.append((event, size_bytes))
        self._buffered_bytes += size_bytes
        if self._waiting:
            self._tell()
        return True
