"""A light HTTP/1.1 client for load: one kept connection, one request at a time, parsed by httptools.

`Connection` sends and reads; `drive` keeps several callers asking for some time. What an answer must
be is for whoever asks to check. Invariants: a connection that broke fails the request under way and
each one after; nothing is sent again; nothing is waited for longer than `ANSWER_SECONDS`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

ANSWER_SECONDS: Final = 60.0
"""How long an answer may take to be complete."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete answer.

    Attributes:
        status: The status code.
        headers: The headers, their names in lower case; of one that came twice, the last.
        body: The body, without its transfer coding.
    """

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Connection(asyncio.Protocol):
    """A kept connection to one address. Open it with `connect`."""

    def __init__(self, host: str, path: str) -> None:
        """Describe a connection.

        Args:
            host: What to send as `Host`.
            path: What each request is sent to.
        """
        self._prefix = f"POST {path} HTTP/1.1\r\nHost: {host}\r\n".encode()
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    async def post(self, headers: bytes, body: bytes) -> HttpAnswer:
        """Send a POST and read the whole answer.

        Args:
            headers: Header lines, each with its line end; `Host` and `Content-Length` are added.
            body: The body.

        Raises:
            ConnectionError: The connection is, or was, broken.
            TimeoutError: The answer did not come in time; the connection is of no more use.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        length = b"Content-Length: %d\r\n\r\n" % len(body)
        self._transport.write(b"".join((self._prefix, headers, length, body)))
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._answer

    def close(self) -> None:
        """Close the connection; nothing is to be under way."""
        if self._transport is not None:
            self._transport.close()

    # --- what asyncio and httptools call ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("closed before the answer was whole"))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """See `httptools.HttpResponseParser`."""
        self._headers = {}
        self._body = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `httptools.HttpResponseParser`."""
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        """See `httptools.HttpResponseParser`."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """See `httptools.HttpResponseParser`."""
        if self._answer is not None and not self._answer.done():
            status = self._parser.get_status_code()
            self._answer.set_result(HttpAnswer(status, self._headers, b"".join(self._body)))


async def connect(url: str) -> Connection:
    """Open a connection to the address that its requests go to; close it when done."""
    parts = urlsplit(url)
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(parts.netloc, parts.path), parts.hostname or "", parts.port or 80
    )
    return connection


@asynccontextmanager
async def connected(url: str, number: int) -> AsyncGenerator[list[Connection]]:
    """Keep connections open until the block is left."""
    async with AsyncExitStack() as stack:
        connections: list[Connection] = []
        for _ in range(number):
            connections.append(await connect(url))
            stack.callback(connections[-1].close)
        yield connections


@dataclass(frozen=True, slots=True)
class Driven:
    """What callers got done together.

    Attributes:
        seconds: How long it took, until the last answer.
        latencies: How long each single thing took, in seconds, in no order.
        client_cpu_seconds: What this process spent on it.
    """

    seconds: float
    latencies: list[float]
    client_cpu_seconds: float

    @property
    def done(self) -> int:
        """How many things were done."""
        return len(self.latencies)

    @property
    def per_second(self) -> float:
        """How many things were done in a second."""
        return self.done / self.seconds


async def drive(
    callers: Sequence[Callable[[], Awaitable[object]]],
    *,
    seconds: float | None = None,
    times: int | None = None,
) -> Driven:
    """Let callers do their thing, each over and over, all at the same time.

    Args:
        callers: What each does; whatever one raises first ends all, and is raised.
        seconds: For how long to begin new ones; None for no bound.
        times: How often in all; None for no bound.
    """
    clock = time.perf_counter
    latencies: list[float] = []
    left = times if times is not None else -1
    cpu_before, start = time.process_time(), clock()
    until = float("inf") if seconds is None else start + seconds

    async def go_on(ask: Callable[[], Awaitable[object]]) -> None:
        nonlocal left
        while left and (begun := clock()) < until:
            left -= 1
            await ask()
            latencies.append(clock() - begun)

    try:
        async with asyncio.TaskGroup() as group:
            for caller in callers:
                group.create_task(go_on(caller))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return Driven(clock() - start, latencies, time.process_time() - cpu_before)
