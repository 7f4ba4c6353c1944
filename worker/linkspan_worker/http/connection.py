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
import re
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from urllib.parse import unquote

import httptools

from linkspan_worker.http.exchange import HttpExchange
from linkspan_worker.refusals import refusals

if TYPE_CHECKING:
    from linkspan_worker.http.server import HttpServer

Serve: TypeAlias = Callable[[HttpExchange], Coroutine[Any, Any, None]]

MAX_HEAD_BYTES: Final = 64 * 1024
"""How long the target and the headers of a request may be together."""

MAX_TARGET_BYTES: Final = 8 * 1024
"""How long the target alone may be (RFC 9112, section 3: at least 8000 octets of request line)."""

MAX_HEADERS: Final = 100
"""How many headers a request may have."""

MAX_DROPPED_BYTES: Final = 16 * 1024 * 1024
"""How much of a body is dropped that comes after the answer, before the connection is given up.

A client that sends all before it reads anything would else lose the answer to a reset.
"""

_LINGER_SECONDS: Final = 1.0
_LINGER_BYTES: Final = 1024 * 1024
"""How long, and for how much, a client is heard out that sends on after its last answer."""

_MAX_AHEAD: Final = 4
"""How many requests a client may have sent ahead before it is read no further."""

_MAX_AHEAD_AT_ONCE: Final = 1000
"""How many may come in one piece, which is read whole; what follows them is not answered."""

_END_OF_AUTHORITY: Final = re.compile(rb"[/?#]")

_FRAMING: Final = (b"content-length", b"transfer-encoding")

_TOO_LARGE: Final = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"the headers are over {MAX_HEAD_BYTES} bytes",
)
_TOO_MANY: Final = (
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"there are over {MAX_HEADERS} headers",
)
_TARGET_TOO_LONG: Final = (
    HTTPStatus.REQUEST_URI_TOO_LONG,
    f"the target is over {MAX_TARGET_BYTES} bytes",
)
_NOT_HTTP: Final = (HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1")
_FULL: Final = (HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; try again")
_ADDRESS_FULL: Final = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    "too many connections from your address; close some, then try again",
)

_NO_LINGER: Final = struct.pack("ii", 1, 0)
"""`struct linger`: on, for no time at all."""

logger = logging.getLogger(__name__)


class HttpConnection(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, server: "HttpServer") -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser: Any = self._new_parser()
        self._silent = False
        """Whether the parser is told again what is known already."""
        self._transport: asyncio.Transport
        self._peer: tuple[str, int] | None = None
        self._own: tuple[str, int] | None = None
        self._incoming: HttpExchange | None = None
        """What is being read."""
        self._ready: deque[HttpExchange] = deque()
        """What has been read as far as its headers, and is not answered yet."""
        self._answering: HttpExchange | None = None
        self._target = b""
        self._head_bytes = 0
        self._unheard_bytes = 0
        """How much has come since the last whole header."""
        self._reading = True
        self._writable: asyncio.Future[None] | None = None
        self._closing = False
        self._lingering: asyncio.TimerHandle | None = None
        self._dropped_bytes = 0
        """How much has come since the answer, of the same body, or since it is being closed."""
        self.write_paused = False
        self.memory: object = None
        """See `Wire.memory`."""
        self.closing_since: float | None = None
        """Since when it is to be closed, once its client has taken what was written."""
        self.waiting_since = self._loop.time()
        """Since when the rest of a head, or a next request, is waited for."""

    # --- from the transport ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._peer = _address(transport.get_extra_info("peername"))
        self._own = _address(transport.get_extra_info("sockname"))
        if self._server.full:
            self._say(*_FULL, None, reason="connections")
            self.close()
            return
        places = self._server.places
        if places is not None and self._peer is not None and not places.take(self, self._peer[0]):
            self._say(*_ADDRESS_FULL, None, reason="address_connections")
            self.close()
            return
        self._server.connections.add(self)
        if self._server.draining:
            self.close()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._closing:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > _LINGER_BYTES:
                self._transport.close()
            return
        self._unheard_bytes += len(data)
        try:
            self._feed(data)
            if self._incoming is not None and not self._incoming.method:
                self._check_head()
            else:
                self._unheard_bytes = 0
        except _HeadTooLargeError as error:
            self._refuse(error.refusal)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.refusal if isinstance(cause, _HeadTooLargeError) else _NOT_HTTP)
        self._answer_next()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as wish:
            exchange = self._incoming
            if exchange is None:
                return
            exchange.keep_alive = False
            if exchange.method == "CONNECT":
                self._end_of_message()
                return
            # It is answered in HTTP/1.1 (RFC 9110, section 7.8), by a parser that heard of no wish.
            self._parser = self._new_parser()
            self._silent = True
            kept = (pair for pair in exchange.headers if pair[0] in _FRAMING)
            lines = b"".join(b"%b: %b\r\n" % pair for pair in kept)
            head = b"%b / HTTP/1.1\r\nhost: -\r\n%b\r\n" % (exchange.method.encode(), lines)
            self._parser.feed_data(head + data[wish.args[0] :])

    def _new_parser(self) -> Any:
        parser = httptools.HttpRequestParser(self)
        # What follows a request that ends the connection is not read, and no reason not to answer.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See `asyncio.Protocol`."""
        self._closing = True
        if self._lingering is not None:
            self._lingering.cancel()
        self._server.connections.discard(self)
        if self._server.places is not None:
            self._server.places.give_back(self)
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
        self._answer_next()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # --- from the parser -------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._silent:
            return
        self._incoming = HttpExchange(self, client=self._peer, server=self._own)
        self._target = b""
        self.waiting_since = self._loop.time()

    def on_url(self, part: bytes) -> None:
        """A part of the target has come."""
        if not self._silent:
            self._count(len(part))
            self._target += part
            if len(self._target) > MAX_TARGET_BYTES:
                raise _HeadTooLargeError(_TARGET_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come, or one of the trailer."""
        exchange = self._incoming
        if self._silent or exchange is None:
            return
        self._count(len(name) + len(value))
        if not exchange.method:
            headers = exchange.headers
            if len(headers) >= MAX_HEADERS:
                raise _HeadTooLargeError(_TOO_MANY)
            headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """All headers have come."""
        exchange = self._incoming
        if self._silent or exchange is None:
            self._silent = False
            return
        if len(self._ready) >= _MAX_AHEAD_AT_ONCE:
            raise _TooManyAheadError
        exchange.method = self._parser.get_method().decode("ascii")
        exchange.path = _path(self._target)
        if not self._target.startswith(b"/"):
            _name_host(exchange, self._target)
        exchange.http_version = version = self._parser.get_http_version()
        exchange.keep_alive = version == "1.1" and self._parser.should_keep_alive()
        if version == "1.1" and any(map(_expects_continue, exchange.headers)):
            exchange.expect_continue()
        self._ready.append(exchange)

    def on_body(self, piece: bytes) -> None:
        """A piece of the body has come."""
        exchange = self._incoming
        if exchange is not None:
            exchange.feed(piece)
            if exchange.response_ended:
                self._dropped_bytes += len(piece)
                if self._dropped_bytes > MAX_DROPPED_BYTES:
                    self.close()

    def on_message_complete(self) -> None:
        """A request is complete, unless it wished for another protocol."""
        if not self._parser.should_upgrade():
            self._end_of_message()

    def _end_of_message(self) -> None:
        exchange, self._incoming = self._incoming, None
        self._head_bytes = 0
        self._dropped_bytes = 0
        if exchange is not None:
            exchange.feed_end()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        self._unheard_bytes = 0
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLargeError(_TOO_LARGE)

    def _check_head(self) -> None:
        if self._head_bytes + self._unheard_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLargeError(_TOO_LARGE)

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
        if not self._reading and not self._closing and len(self._ready) <= _MAX_AHEAD:
            self._reading = True
            self._transport.resume_reading()

    def hold_body(self) -> None:
        """See `Wire.hold_body`."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def ended(self, exchange: HttpExchange) -> None:
        """See `Wire.ended`."""
        self._server.answered(exchange)
        if exchange is not self._answering:
            return
        self._answering = None
        self.waiting_since = self._loop.time()
        if not exchange.keep_alive or self._server.draining:
            if exchange.body_complete or self._server.draining or exchange.gone:
                self.close()
            else:
                self._linger()
        elif self._ready:
            self._loop.call_soon(self._answer_next)
        else:
            self.want_body()

    def abort(self) -> None:
        """See `Wire.abort`; the kernel sends nothing more of what it holds, either."""
        handle = self._transport.get_extra_info("socket")
        if handle is not None and self._parser is not None and handle.fileno() >= 0:
            with socket.socket(fileno=os.dup(handle.fileno())) as twin:
                twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    # --- from the server -------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether no request is being answered, or could be."""
        return self._answering is None and not self._ready

    @property
    def streaming(self) -> bool:
        """Whether a response has begun and not ended."""
        exchange = self._answering
        return exchange is not None and exchange.response_begun and not exchange.response_ended

    @property
    def unsent_bytes(self) -> int:
        """How much was written that the kernel has not taken, because the client does not."""
        return self._transport.get_write_buffer_size() if self._parser is not None else 0

    @property
    def in_head(self) -> bool:
        """Whether the rest of a head is waited for, be it while another request is answered."""
        return self._incoming is not None and not self._incoming.method

    def close(self) -> None:
        """Close the connection, once what is written has been sent."""
        if not self._closing or self.closing_since is None:
            self.closing_since = self._loop.time()
        self._closing = True
        self._transport.close()

    def _linger(self) -> None:
        """Close in two steps a connection whose client may be sending still.

        If it were closed at once, the client would get a reset, and might lose the answer to it
        (RFC 9112, section 9.6). What still comes is dropped, for a bounded time and size.
        """
        self.want_body()
        self.closing_since = self._loop.time()
        self._closing = True
        self._transport.write_eof()
        self._lingering = self._loop.call_later(_LINGER_SECONDS, self._transport.close)

    def close_when_idle(self) -> None:
        """Serve what has come, and no more."""
        if self._answering is not None and not self._answering.response_begun:
            self._answering.keep_alive = False
        if self.idle:
            self.close()

    def give_up_waiting(self) -> None:
        """End a wait that took too long: for a next request, or for the rest of a head."""
        if self._incoming is not None and not self._incoming.response_begun:
            words = "the request did not arrive in time"
            self._say(HTTPStatus.REQUEST_TIMEOUT, words, self._incoming)
        self.close()

    @property
    def in_message(self) -> bool:
        """Whether the rest of a request is waited for, of its head or of a body nobody reads."""
        return self._incoming is not None

    # --- within ----------------------------------------------------------------------------------

    def _answer_next(self) -> None:
        if len(self._ready) > _MAX_AHEAD:
            self.hold_body()
        if self._answering is not None or not self._ready or self._transport.is_closing():
            return
        if self.write_paused:  # its client takes what it has been answered so far first
            return
        exchange = self._answering = self._ready.popleft()
        if self._server.draining:
            exchange.keep_alive = False
        self.want_body()
        self._server.answer(exchange)

    def _refuse(self, refusal: tuple[HTTPStatus, str]) -> None:
        """Read no more; what came before is answered, or else this is."""
        self._closing = True
        broken, self._incoming = self._incoming, None
        if broken is not None and broken in self._ready:
            self._ready.remove(broken)
        elif broken is not None and broken.method:  # it is being answered, or has been
            broken.lose()
            self.close()
            return
        last = self._ready[-1] if self._ready else self._answering
        if last is not None:
            last.keep_alive = False  # and nobody needs to be told why
        else:
            self._say(*refusal, broken)
            self.close()

    def _say(
        self, status: HTTPStatus, words: str, to: HttpExchange | None, reason: str = ""
    ) -> None:
        refusals.add(1, {"reason": reason or str(status.value)})
        body = f"{words}\n".encode()
        fields = b"" if to is None else self._server.fields_of(to).encode("latin-1")
        self._transport.write(
            b"HTTP/1.1 %d %b\r\n%bcontent-type: text/plain\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b"
            % (status, status.phrase.encode(), fields, len(body), body)
        )


def _expects_continue(header: tuple[bytes, bytes]) -> bool:
    return header[0] == b"expect" and header[1].lower() == b"100-continue"


class _TooManyAheadError(Exception):
    """A client has sent more requests ahead than it may."""


class _HeadTooLargeError(Exception):
    """The target and the headers of a request are too long, or too many."""

    def __init__(self, refusal: tuple[HTTPStatus, str]) -> None:
        super().__init__(refusal[1])
        self.refusal = refusal


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


def _name_host(exchange: HttpExchange, target: bytes) -> None:
    """Have a target in absolute form say which host is meant (RFC 9112, section 3.2.2)."""
    scheme, found, rest = target.partition(b"://")
    if not found or not scheme.isalpha():
        return
    authority = _END_OF_AUTHORITY.split(rest, maxsplit=1)[0].rpartition(b"@")[2]
    others = [pair for pair in exchange.headers if pair[0] != b"host"]
    exchange.headers = [(b"host", authority), *others]


def _address(name: tuple[Any, ...] | str | None) -> tuple[str, int] | None:
    """Read what a socket is called; None for one that has no address and port."""
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
