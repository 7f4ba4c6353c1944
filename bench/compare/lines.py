"""Kept connections for load: one request at a time on each, at a cost that leaves the cores to servers.

A `Line` sends bytes and calls back with the answer, without a task, a future or a lock; whoever is
called back may send the next request at once. Above lies `driving`; below lies `framing`.
Invariants: a line that broke says so once, to whoever waits; nothing is sent again.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from bench.compare.framing import HEAD_END, FramingError, Head, read_head, unchunk

ANSWER_SECONDS: Final = 60.0
"""How long an answer may take to be complete, where one is awaited."""

_AT_ONCE: Final = 64
"""How many connections are opened at the same time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer.

    Attributes:
        status: The status code.
        kind: The media type of its body.
        head: Its head, as it came.
        body: Its body, without its transfer coding.
    """

    status: int
    kind: bytes
    head: bytes
    body: bytes


class Line(asyncio.Protocol):
    """A connection to one server. Open it with `connect`."""

    def __init__(self) -> None:
        self.answered: Callable[[Answer], None] = _nobody
        """Called with each answer; what it raises goes to `broke`."""
        self.broke: Callable[[Exception], None] = _ignored
        """Called when the connection is lost, or what came cannot be read."""
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []  # of an answer that is not complete
        self._missing = 0  # bytes, of an answer that says its length
        self._last_head = b""
        self._last: Head = Head(0, b"", 0)

    def send(self, request: bytes) -> None:
        """Send a request; the answer to the one before has to be there.

        Raises:
            ConnectionError: The connection is lost.
        """
        if self._transport is None:
            raise ConnectionError("the connection is lost")
        self._transport.write(request)

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            ConnectionError: The connection is lost.
            FramingError: What came is no answer.
            TimeoutError: There was no answer in time.
        """
        coming: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.answered, self.broke = coming.set_result, coming.set_exception
        try:
            self.send(request)
            async with asyncio.timeout(ANSWER_SECONDS):
                return await coming
        finally:
            self.answered, self.broke = _nobody, _ignored

    def close(self) -> None:
        """Close the connection, without a word to anybody."""
        self.answered, self.broke = _nobody, _ignored
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # --- what asyncio calls ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._transport = None
        self.broke(exc or ConnectionError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
        try:
            answer = self._read(data)
            self._pieces = [] if answer else [data]
            if answer:
                self.answered(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits is to know it
            self.broke(error)

    def _read(self, data: bytes) -> Answer | None:
        end = data.find(HEAD_END) + len(HEAD_END)
        if end < len(HEAD_END):
            return None
        raw = data[:end]
        # Answers to like requests have like heads: most are read once a second, for their date.
        head = self._last if raw == self._last_head else read_head(raw)
        self._last_head, self._last = raw, head
        if head.length is not None:
            self._missing = end + head.length - len(data)
            if self._missing < 0:
                raise FramingError(f"bytes after the answer: {data[self._missing :][:100]!r}")
            body = None if self._missing else data[end:]
        else:
            # The end of the last chunk looks like this, and little else does.
            body = unchunk(data, end) if data.endswith(HEAD_END) else None
        return None if body is None else Answer(head.status, head.kind, raw, body)


@asynccontextmanager
async def connected(urls: Sequence[str], number: int) -> AsyncGenerator[list[Line]]:
    """Keep connections open until the block is left.

    Args:
        urls: Where to; each server has as many as the others.
        number: How many.
    """
    places = [urlsplit(url) for url in urls]
    loop = asyncio.get_running_loop()
    lines: list[Line] = []
    try:
        while len(lines) < number:
            some = range(len(lines), min(number, len(lines) + _AT_ONCE))
            chosen = [places[index % len(places)] for index in some]
            opening = [
                loop.create_connection(Line, place.hostname or "", place.port or 80)
                for place in chosen
            ]
            lines += [line for _, line in await asyncio.gather(*opening)]
        yield lines
    finally:
        for line in lines:
            line.close()
        await asyncio.sleep(0)  # the loop closes what is to be closed in its next turn


def _nobody(answer: Answer) -> None:
    raise FramingError(f"an answer that nobody asked for: {answer}")


def _ignored(error: Exception) -> None:
    del error
