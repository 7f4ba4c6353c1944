"""The HTTP server: its listening socket, its connections, their timeouts, and its end.

Above lies the worker's process; below lies `connection`. One timer serves all connections.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Final, TypeAlias

from linkspan_worker.cut_offs import cut_offs
from linkspan_worker.http.connection import HttpConnection, Serve
from linkspan_worker.http.exchange import HttpExchange
from linkspan_worker.http.places import Places

Shed: TypeAlias = Callable[[HttpExchange, int], bool]
"""Asked before a request is served, with how many are; True if it has answered the request itself."""

logger = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
"""How often connections are looked at that may have been silent for too long."""

_BACKLOG: Final = 2048
_ERROR_BODY: Final = b"Internal server error\n"


@dataclass(frozen=True, slots=True)
class HttpTimes:
    """How long clients may take.

    Attributes:
        message_seconds: For the headers of a request from its first byte on, for the rest of a
            body that is not read any more, and to take the rest of the last answer.
        keep_alive_seconds: Between two requests.
    """

    message_seconds: float
    keep_alive_seconds: float = 75.0


@dataclass(frozen=True, slots=True)
class HttpBounds:
    """How much there may be at once.

    Attributes:
        max_connections: Connections; one more is answered with 503, and closed.
        places: Connections of each address; one more is answered and closed likewise; None for as
            many as there may be.
        shed: Whom to ask before a request is served; None serves all.
    """

    max_connections: int = 16_384
    shed: Shed | None = None
    places: Places | None = None


_BOUNDS: Final = HttpBounds()


class HttpServer:
    """An HTTP/1.1 server before one application."""

    def __init__(
        self,
        application: Serve,
        times: HttpTimes,
        bounds: HttpBounds = _BOUNDS,
        *,
        fields_of: Callable[[HttpExchange], str] = lambda _: "",
    ) -> None:
        """Make a server.

        Args:
            application: Answers each request; whatever it raises becomes a 500, and is logged.
            times: How long clients may take.
            bounds: How much there may be at once.
            fields_of: Writes the headers that each answer to a request needs, where it is the server
                that answers; the request may be there in part only.
        """
        self._application = application
        self.fields_of: Final = fields_of
        self._times = times
        self._bounds = bounds
        self.places: Final = bounds.places
        self._listening: asyncio.Server | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered: set[HttpExchange] = set()
        """Whose clients have not the whole answer, which is what they know of their requests."""
        self.connections: set[HttpConnection] = set()
        self.draining = False

    @property
    def running(self) -> int:
        """How many requests are being answered: those whose clients have not the whole answer."""
        return len(self._unanswered)

    @property
    def full(self) -> bool:
        """Whether there may be no more connections."""
        return len(self.connections) >= self._bounds.max_connections

    async def start(self, listener: socket.socket) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            lambda: HttpConnection(self), sock=listener, backlog=_BACKLOG
        )
        self._looking = loop.call_later(_LOOK_SECONDS, self._look)

    async def drain(self, within_seconds: float) -> None:
        """Accept nothing more, and wait until all requests are done with, or the time is over."""
        self.draining = True
        if self._listening is not None:
            self._listening.close()
        for connection in list(self.connections):
            connection.close_when_idle()
        try:
            async with asyncio.timeout(within_seconds):
                while self.connections or self._tasks:
                    self._waiter = asyncio.get_running_loop().create_future()
                    await self._waiter
        except TimeoutError:
            pass

    async def close(self) -> None:
        """Break what is left."""
        if self._looking is not None:
            self._looking.cancel()
        if self._listening is not None:
            self._listening.close()
        for connection in list(self.connections):
            connection.abort()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def answer(self, exchange: HttpExchange) -> None:
        """Have one request answered."""
        shed = self._bounds.shed
        if shed is not None and shed(exchange, len(self._unanswered)):
            return
        self._unanswered.add(exchange)
        # In no request's context: one that was sent ahead is none of the one before it.
        task = asyncio.get_running_loop().create_task(self._answer(exchange), context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if self.draining:
            self.noticed()

    async def _answer(self, exchange: HttpExchange) -> None:
        try:
            await self._application(exchange)
        except Exception:
            logger.exception("a request broke the application")
        finally:
            if not exchange.response_ended and not exchange.gone:
                self._break_off(exchange)
            self._unanswered.discard(exchange)

    def answered(self, exchange: HttpExchange) -> None:
        """Say that a client has its whole answer, though there may be work left behind it."""
        self._unanswered.discard(exchange)

    def noticed(self) -> None:
        """Say that a connection has gone, or a request is done with."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break_off(self, exchange: HttpExchange) -> None:
        exchange.keep_alive = False
        if exchange.response_begun:  # its client must not take it for complete
            exchange.abort()
        else:
            exchange.own_fields = exchange.own_fields or self.fields_of(exchange)
            exchange.respond(500, (("content-type", "text/plain"),), _ERROR_BODY)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._looking = loop.call_later(_LOOK_SECONDS, self._look)
        now = loop.time()
        for connection in list(self.connections):
            times = self._times
            if connection.closing_since is not None:
                if now - connection.closing_since > times.message_seconds:
                    logger.debug("cut off a client that takes nothing of its last answer")
                    cut_offs.add(1)
                    connection.abort()
                continue
            if not connection.idle:
                continue
            waited = now - connection.waiting_since
            if waited > (
                times.message_seconds if connection.in_message else times.keep_alive_seconds
            ):
                connection.give_up_waiting()
