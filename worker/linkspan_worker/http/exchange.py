"""One request and its response, as an application sees them.

Above lies the application; below lies `connection`, which feeds the request in and takes what is
written. Invariants: a response has one head and one end; what is written once the client has gone
is dropped; nothing is copied or waited for that need not be.

Sources: RFC 9110 (HTTP semantics), RFC 9112 (HTTP/1.1).
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from linkspan_worker.forwarded import PassedOn

HIGH_WATER_BYTES: Final = 64 * 1024
"""How much of a body is held for an application that does not read it."""

_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus
}
_NOT_A_TOKEN: Final = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]|^$")
_NOT_TEXT: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class ClientGoneError(Exception):
    """The client went away; there is nobody to answer."""


class Wire(Protocol):
    """The connection below an exchange."""

    memory: object
    """What the application keeps for the next request; see `HttpExchange.memory`."""

    @property
    def write_paused(self) -> bool:
        """Whether the client takes less than is written."""
        ...

    def write(self, data: bytes) -> None:
        """Hand bytes over; never waits."""
        ...

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written, or has gone."""
        ...

    def want_body(self) -> None:
        """Say that the application reads on."""
        ...

    def hold_body(self) -> None:
        """Say that enough of the body is held."""
        ...

    def ended(self, exchange: "HttpExchange") -> None:
        """Say that the response is complete."""
        ...

    def abort(self) -> None:
        """Break the connection, so that nothing more of what is held is sent."""
        ...


class HttpExchange:
    """A request being read, and the response being written to it."""

    __slots__ = (
        "_chunked",
        "_expects_continue",
        "_held",
        "_more_body",
        "_pieces",
        "_reader",
        "_wire",
        "client",
        "gone",
        "headers",
        "http_version",
        "keep_alive",
        "method",
        "on_gone",
        "own_fields",
        "passed_on",
        "path",
        "response_begun",
        "response_ended",
        "server",
        "status",
    )

    def __init__(
        self,
        wire: Wire,
        *,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
    ) -> None:
        """Make an exchange of which nothing is known yet.

        Args:
            wire: The connection.
            client: Address and port of who sends it, be it a proxy; None if it has none.
            server: Address and port that it called.
        """
        self._wire = wire
        self.client = client
        self.server = server
        self.method = ""
        self.path = ""
        """The path of the target, decoded; without the query."""
        self.http_version = "1.1"
        self.headers: list[tuple[bytes, bytes]] = []
        """Names in lower case, and values as they came."""
        self.keep_alive = True
        """Whether the connection may serve another request after this one."""
        self.gone = False
        """Whether the client has gone away."""
        self.on_gone: Callable[[], None] | None = None
        """Called once when the client goes away before the response is complete."""
        self.own_fields = ""
        """Headers of the response as they are written, each with its line end; nothing checks them."""
        self.passed_on: PassedOn | None = None
        """What a trusted proxy says of whom it passed the request on for."""
        self.response_begun = False
        self.response_ended = False
        self.status: int | None = None
        """The status of the response, once that has begun."""
        self._expects_continue = False
        self._pieces: list[bytes] = []
        self._held = 0
        self._more_body = True
        self._reader: asyncio.Future[None] | None = None
        self._chunked = False

    # --- the request -----------------------------------------------------------------------------

    @property
    def client_address(self) -> str:
        """Who sent the request, as far as that is known: an IP address; empty if there is none.

        The client behind all trusted proxies if they name it, else the other end of the connection.
        """
        if self.passed_on is not None and self.passed_on.client is not None:
            return self.passed_on.client[0]
        return "" if self.client is None else self.client[0]

    @property
    def scheme(self) -> str:
        """How the client sent it: `http`, or what a trusted proxy says."""
        return "http" if self.passed_on is None else self.passed_on.scheme or "http"

    @property
    def memory(self) -> object:
        """What the application keeps for the next request on the connection; None at first."""
        return self._wire.memory

    @memory.setter
    def memory(self, kept: object) -> None:
        self._wire.memory = kept

    async def read(self) -> bytes:
        """Return the next piece of the body; empty at its end.

        Raises:
            ClientGoneError: The client went away before it had sent all of it.
        """
        while not self._pieces and self._more_body:
            if self.gone:
                raise ClientGoneError
            if self._expects_continue:
                self._expects_continue = False
                self._wire.write(_CONTINUE)
            self._wire.want_body()
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return piece

    @property
    def body_complete(self) -> bool:
        """Whether all of the body is here, so that `read` waits for nothing."""
        return not self._more_body

    def feed(self, piece: bytes) -> None:
        """Take a piece of the body; what comes after the response is dropped."""
        if self.response_ended:
            return
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > HIGH_WATER_BYTES:
            self._wire.hold_body()
        self._wake()

    def feed_end(self) -> None:
        """Take the end of the body."""
        self._more_body = False
        self._wake()

    def expect_continue(self) -> None:
        """Note that the client waits to be asked for the body (RFC 9110, section 10.1.1)."""
        self._expects_continue = True

    def lose(self) -> None:
        """Take that the client has gone."""
        if self.gone:
            return
        self.gone = True
        self._wake()
        if self.on_gone is not None and not self.response_ended:
            self.on_gone()

    # --- the response ----------------------------------------------------------------------------

    @property
    def write_paused(self) -> bool:
        """Whether the client takes less than is written."""
        return self._wire.write_paused and not self.gone

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written, or has gone."""
        await self._wire.drain()

    def respond(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Write a whole response.

        Args:
            status: The status.
            headers: All headers but those that say how long the body is, and the general ones.
            body: The body; empty for a status that has none.
        """
        # RFC 9110, section 8.6: a 204 has no Content-Length.
        length = "" if status == HTTPStatus.NO_CONTENT else f"content-length: {len(body)}\r\n"
        head = self._head(status, headers, length)
        self._put(head if self.method == "HEAD" else head + body)
        self._end()

    def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Write the head of a response whose length is not known; its body follows in pieces."""
        self._chunked = self.http_version == "1.1"
        if not self._chunked:  # its end is the end of the connection (RFC 9112, section 6.3)
            self.keep_alive = False
        self._put(
            self._head(status, headers, "transfer-encoding: chunked\r\n" if self._chunked else "")
        )

    def write(self, piece: bytes) -> None:
        """Write a piece of the body, after `begin`; must not be empty."""
        if self.method != "HEAD":
            self._put(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    def end(self) -> None:
        """Complete the response, after `begin`."""
        if self._chunked and self.method != "HEAD":
            self._put(_LAST_CHUNK)
        self._end()

    def abort(self) -> None:
        """Break the connection, for a client that takes nothing."""
        self._wire.abort()

    def _head(self, status: int, headers: Iterable[tuple[str, str]], framing: str) -> bytes:
        if self.response_begun:
            raise RuntimeError("a response has one head")
        fields = "".join([_field(name, value) for name, value in headers])
        if self._expects_continue and self._more_body:  # it may send the body all the same, or not
            self.keep_alive = False
        closing = "" if self.keep_alive else "connection: close\r\n"
        self.response_begun = True
        self.status = status
        self._expects_continue = False
        head = (
            f"{_STATUS_LINES[status]}{_date_line()}{self.own_fields}{fields}{framing}{closing}\r\n"
        )
        return head.encode("latin-1")

    def _put(self, data: bytes) -> None:
        if not self.gone:
            self._wire.write(data)

    def _end(self) -> None:
        self.response_ended = True
        self._pieces.clear()
        self._wire.ended(self)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


@lru_cache(256)
def _field(name: str, value: str) -> str:
    """Write a header, which must be one and no more (RFC 9110, sections 5.1 and 5.5)."""
    if _NOT_A_TOKEN.search(name) or _NOT_TEXT.search(value):
        raise ValueError("a header of the response holds what no header may hold")
    return f"{name}: {value}\r\n"


_date: tuple[int, str] = (0, "")


def _date_line() -> str:
    """Write the `Date` field, which an origin server with a clock sends (RFC 9110, 6.6.1)."""
    global _date  # noqa: PLW0603 - written once a second, instead of for each response
    now = int(time.time())
    if _date[0] != now:
        _date = (now, f"date: {formatdate(now, usegmt=True)}\r\n")
    return _date[1]
