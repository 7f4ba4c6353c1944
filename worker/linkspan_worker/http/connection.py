"""One connection: bytes into exchanges, one after the other, and their responses in that order.

Above lies `server`, which accepts; below lie httptools, whose parser this drives, and `exchange`.
Invariants: at most one exchange is being answered, however many requests a client sends ahead;
what a client sends is read no faster than it is wanted; a message that is not HTTP is answered once,
and ends the connection.

Sources: RFC 9112; its section 9.3.2 for requests that are sent ahead.
"""

import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from urllib.parse import unquote

import httptools

from linkspan_worker.http.exchange import HttpExchange

if TYPE_CHECKING:
    from linkspan_worker.http.server import HttpServer

Serve: TypeAlias = Callable[[HttpExchange], Coroutine[Any, Any, None]]

MAX_HEAD_BYTES: Final = 64 * 1024
"""How long the target and the headers of a request may be together."""

_MAX_AHEAD: Final = 4
"""How many requests a client may have sent ahead before it is read no further."""

_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""`struct linger`: on, for no time at all."""

logger = logging.getLogger(__name__)


class HttpConnection(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, server: "HttpServer") -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._peer: tuple[str, int] | None = None
        self._own: tuple[str, int] | None = None
        self._incoming: HttpExchange | None = None
        """What is being read."""
        self._ready: deque[HttpExchange] = deque()
        """What has been read as far as its headers, and is not answered yet."""
        self._answering: HttpExchange | None = None
        self._task: asyncio.Task[None] | None = None
        self._target = b""
        self._head_bytes = 0
        self._reading = True
        self._writable: asyncio.Future[None] | None = None
        self._closing = False
        self.write_paused = False
        self.waiting_since = self._loop.time()
        """Since when the rest of a head, or a next request, is waited for."""

    # --- from the transport ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._peer = _address(transport.get_extra_info("peername"))
        self._own = _address(transport.get_extra_info("sockname"))
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._closing = True  # it is answered in HTTP/1.1, and what follows is not read
            for exchange in (*self._ready, self._incoming):
                if exchange is not None:
                    exchange.keep_alive = False
                    exchange.feed_end()
        except httptools.HttpParserError as error:
            self._refuse(error)
        self._answer_next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See `asyncio.Protocol`."""
        self._closing = True
        self._server.connections.discard(self)
        self._parser = None
        for exchange in (self._answering, self._incoming, *self._ready):
            if exchange is not None:
                exchange.lose()
        self._ready.clear()
        self.resume_writing()
        self._server.noticed()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.write_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # --- from the parser -------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._incoming = HttpExchange(self, client=self._peer, server=self._own)
        self._target = b""
        self._head_bytes = 0
        self.waiting_since = self._loop.time()

    def on_url(self, part: bytes) -> None:
        """A part of the target has come."""
        self._count(len(part))
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come, or one of the trailer."""
        self._count(len(name) + len(value))
        exchange = self._incoming
        if exchange is not None and not exchange.method:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                exchange.expect_continue()
            exchange.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """All headers have come."""
        exchange = self._incoming
        if exchange is None:
            return
        exchange.method = self._parser.get_method().decode("ascii")
        exchange.path = _path(self._target)
        exchange.http_version = version = self._parser.get_http_version()
        exchange.keep_alive = version == "1.1" and self._parser.should_keep_alive()
        self._ready.append(exchange)

    def on_body(self, piece: bytes) -> None:
        """A piece of the body has come."""
        if self._incoming is not None:
            self._incoming.feed(piece)

    def on_message_complete(self) -> None:
        """A request is complete."""
        exchange, self._incoming = self._incoming, None
        if exchange is not None:
            exchange.feed_end()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLargeError

    # --- from the exchange -----------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See `Wire.write`."""
        self._transport.write(data)

    async def drain(self) -> None:
        """See `Wire.drain`."""
        while self.write_paused:
            if self._writable is None or self._writable.done():
                self._writable = self._loop.create_future()
            await asyncio.shield(self._writable)

    def want_body(self) -> None:
        """See `Wire.want_body`."""
        if not self._reading and not self._closing:
            self._reading = True
            self._transport.resume_reading()

    def hold_body(self) -> None:
        """See `Wire.hold_body`."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def ended(self, exchange: HttpExchange) -> None:
        """See `Wire.ended`."""
        if exchange is not self._answering:
            return
        self._answering = None
        self.waiting_since = self._loop.time()
        if exchange.keep_alive and not self._server.draining:
            self.want_body()
            if self._ready:
                self._loop.call_soon(self._answer_next)
        else:
            self.close()

    def abort(self) -> None:
        """See `Wire.abort`; the kernel sends nothing more of what it holds, either."""
        handle = self._transport.get_extra_info("socket")
        if handle is not None:
            with socket.socket(fileno=os.dup(handle.fileno())) as twin:
                twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    # --- from the server -------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no request is being answered, or could be."""
        return self._answering is None and not self._ready

    def close(self) -> None:
        """Close the connection, once what is written has been sent."""
        self._closing = True
        self._transport.close()

    def close_when_idle(self) -> None:
        """Serve what has come, and no more."""
        if self._answering is not None and not self._answering.response_begun:
            self._answering.keep_alive = False
        if self.idle:
            self.close()

    def give_up_waiting(self) -> None:
        """End a wait that took too long: for a next request, or for the rest of a head."""
        if self._incoming is not None and not self._incoming.response_begun:
            self._say(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive in time")
        self.close()

    @property
    def in_message(self) -> bool:
        """Whether the rest of a request is waited for, of its head or of a body nobody reads."""
        return self._incoming is not None

    # --- within ----------------------------------------------------------------------------------

    def _answer_next(self) -> None:
        if len(self._ready) > _MAX_AHEAD:
            self.hold_body()
        if self._answering is not None or not self._ready:
            return
        exchange = self._answering = self._ready.popleft()
        if self._server.draining:
            exchange.keep_alive = False
        self._task = self._loop.create_task(self._server.answer(exchange))

    def _refuse(self, error: Exception) -> None:
        self._closing = True
        too_large = isinstance(error.__context__, _HeadTooLargeError)
        if self.idle:
            if too_large:
                self._say(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"the headers are over {MAX_HEAD_BYTES} bytes",
                )
            else:
                self._say(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1")
        if self._incoming is not None:
            self._incoming.lose()
        if self._answering is None:
            self.close()
        else:  # what came before is answered; what came after is nobody's
            self._answering.keep_alive = False
            self._ready.clear()

    def _say(self, status: HTTPStatus, words: str) -> None:
        body = f"{words}\n".encode()
        self._transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (status, status.phrase.encode(), len(body), body)
        )


class _HeadTooLargeError(Exception):
    """The target and the headers of a request are too long."""


def _path(target: bytes) -> str:
    """Return the path of a target, decoded (RFC 9112, section 3.2); empty if it has none."""
    path: bytes | None
    if target.startswith(b"/") and not target.startswith(b"//"):
        path = target.partition(b"?")[0].partition(b"#")[0]
    else:
        try:
            path = httptools.parse_url(target).path
        except httptools.HttpParserInvalidURLError:
            path = None
    text = (path or b"").decode("latin-1")
    return unquote(text) if "%" in text else text


def _address(name: object) -> tuple[str, int] | None:
    """Read what a socket is called; None for one that has no address and port."""
    if isinstance(name, tuple):
        host, port = name[:2]
        return str(host), int(port)
    return None
