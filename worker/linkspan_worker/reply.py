"""What goes back over HTTP, as JSON or as an event stream: ASGI's `send` side, no decisions.

Sources: ASGI HTTP spec 2.4; WHATWG HTML, section 9.2 (server-sent events).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, TypeAlias

from opentelemetry import metrics

from linkspan_worker.headers import EVENT_STREAM, JSON

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
logger = logging.getLogger(__name__)

_cut_offs = metrics.get_meter("linkspan.worker").create_counter(
    "linkspan.worker.cut_offs",
    unit="{connection}",
    description="Connections that were broken because their client took nothing of its answer.",
)

HeaderPairs: TypeAlias = Iterable[tuple[str, str]]

_STREAM_HEADERS: Final = (
    ("content-type", EVENT_STREAM),
    ("cache-control", "no-cache, no-transform"),
    # nginx buffers answers unless told not to.
    ("x-accel-buffering", "no"),
)


class ClientGoneError(Exception):
    """The client went away; there is nobody to answer."""


class ReaderStalledError(ClientGoneError):
    """The client takes nothing of what is sent to it, and was cut off."""


class Reply:
    """One HTTP response being written, by one of `json`, `empty` and `begin_stream`."""

    def __init__(
        self, send: Send, *, stall_seconds: float, abort: Callable[[], None] = lambda: None
    ) -> None:
        """Make a reply.

        Args:
            send: ASGI's.
            stall_seconds: How long one piece may wait for a client that takes nothing.
            abort: Breaks the connection, for such a client.
        """
        self._send_piece = send
        self._stall_seconds = stall_seconds
        self._abort = abort
        self.status: int | None = None
        """The HTTP status, once it has been sent."""
        self.streaming = False
        """Whether an event stream has begun."""
        self.ended = False
        """Whether the last byte has been handed over."""

    async def json(self, status: int, text: str, headers: HeaderPairs = ()) -> None:
        """Send a JSON body and be done."""
        body = text.encode()
        await self._start(
            status,
            (("content-type", JSON), ("content-length", str(len(body))), *headers),
        )
        await self._finish(body)

    async def empty(self, status: int, headers: HeaderPairs = ()) -> None:
        """Send a status without a body and be done."""
        # RFC 9110, section 8.6: a 204 has no Content-Length.
        length = () if status == HTTPStatus.NO_CONTENT else (("content-length", "0"),)
        await self._start(status, (*length, *headers))
        await self._finish(b"")

    async def begin_stream(self, headers: HeaderPairs = ()) -> None:
        """Commit to an event stream; returns when its headers are on their way."""
        self.streaming = True
        await self._start(200, (*_STREAM_HEADERS, *headers))
        # Servers hold the headers back until the first piece of a body: clients wait for them.
        await self._write(b"")

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
        await self._finish(b"")

    async def _start(self, status: int, headers: HeaderPairs) -> None:
        self.status = status
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.encode(), value.encode()) for name, value in headers],
            }
        )

    async def _finish(self, data: bytes) -> None:
        self.ended = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._send_piece(message)
        except TimeoutError:
            self.ended = True
            self._abort()
            logger.warning("cut off a client that takes nothing of its answer")
            _cut_offs.add(1)
            raise ReaderStalledError from None

    async def _write(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
