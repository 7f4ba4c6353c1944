"""What goes back over HTTP, as JSON or as an event stream: written to the exchange, no decisions.

Source: WHATWG HTML, section 9.2 (server-sent events).
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final, TypeAlias

from linkspan_worker.cut_offs import cut_offs
from linkspan_worker.headers import EVENT_STREAM, JSON
from linkspan_worker.http import ClientGoneError, HttpExchange

logger = logging.getLogger(__name__)

HeaderPairs: TypeAlias = Iterable[tuple[str, str]]

_JSON_TYPE: Final = ("content-type", JSON)
_STREAM_HEADERS: Final = (
    ("content-type", EVENT_STREAM),
    ("cache-control", "no-cache, no-transform"),
    # nginx buffers answers unless told not to.
    ("x-accel-buffering", "no"),
)


class ReaderStalledError(ClientGoneError):
    """The client takes nothing of what is sent to it, and was cut off."""


class Reply:
    """One HTTP response being written, by one of `json`, `empty` and `begin_stream`."""

    __slots__ = ("_exchange", "_stall_seconds", "content_type", "ended", "status", "streaming")

    def __init__(self, exchange: HttpExchange, *, stall_seconds: float) -> None:
        """Make a reply.

        Args:
            exchange: What it is written to.
            stall_seconds: How long one piece may wait for a client that takes nothing.
        """
        self._exchange = exchange
        self._stall_seconds = stall_seconds
        self.status: int | None = None
        """The HTTP status, once it has been sent."""
        self.content_type = ""
        """What kind of body was sent; empty for none."""
        self.streaming = False
        """Whether an event stream has begun."""
        self.ended = False
        """Whether the last byte has been handed over."""

    async def json(self, status: int, text: str, headers: HeaderPairs = ()) -> None:
        """Send a JSON body and be done."""
        self.status = status
        self.content_type = JSON
        self.ended = True
        self._exchange.respond(status, (_JSON_TYPE, *headers), text.encode())
        if self._exchange.write_paused:
            await self._wait_for_reader()

    async def empty(self, status: int, headers: HeaderPairs = ()) -> None:
        """Send a status without a body and be done; a stream that has begun just ends."""
        if self.streaming:
            await self.end_stream()
            return
        self.status = status
        self.ended = True
        self._exchange.respond(status, headers, b"")

    async def begin_stream(self, headers: HeaderPairs = ()) -> None:
        """Commit to an event stream; its headers are on their way at once: clients wait for them."""
        self.status = 200
        self.content_type = EVENT_STREAM
        self.streaming = True
        self._exchange.begin(200, (*_STREAM_HEADERS, *headers))

    async def event(self, text: str, event_id: str = "") -> None:
        """Send one message, which must be a single line, and the id to resume after it."""
        named = f"id: {event_id}\n" if event_id else ""
        await self._write(f"event: message\n{named}data: {text}\n\n".encode())

    async def priming(self, event_id: str, retry_millis: int) -> None:
        """Send the id to resume from before there is any message, and how long to wait for that.

        Source: https://modelcontextprotocol.io/seps/1699-support-sse-polling-via-server-side-disconnect
        """
        await self._write(f"id: {event_id}\nretry: {retry_millis}\ndata: \n\n".encode())

    async def comment(self) -> None:
        """Show that the stream lives, in a way that no client takes for a message."""
        await self._write(b": alive\n\n")

    async def end_stream(self) -> None:
        """End the stream."""
        self.ended = True
        self._exchange.end()
        if self._exchange.write_paused:
            await self._wait_for_reader()

    async def _write(self, data: bytes) -> None:
        self._exchange.write(data)
        if self._exchange.write_paused:
            await self._wait_for_reader()

    async def _wait_for_reader(self) -> None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._exchange.drain()
        except TimeoutError:
            self.ended = True
            self._exchange.abort()
            logger.warning("cut off a client that takes nothing of its answer")
            cut_offs.add(1)
            raise ReaderStalledError from None
