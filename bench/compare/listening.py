"""Clients that listen: a GET stream for each session, told by one call of a tool for all.

Above lies `benches`; below lie `lines`, `framing` and `asking`. Invariants: each stream has to get
each notification exactly once; one that ends, or gets another, ends the run.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

from bench.compare.arms import Running
from bench.compare.asking import Post, bodiless, calling, new_ids
from bench.compare.driving import open_sessions
from bench.compare.framing import Events
from bench.compare.lines import Line, connected
from bench.compare.plan import Plan
from bench.compare.samples import Sample, sample_of

_OK: Final = 200
_ALL_SECONDS: Final = 60.0
"""How long it may take until all streams are open, or have got a notification."""

_AT_ONCE: Final = 64


class LostNotificationError(Exception):
    """A stream ended, or got something else than what was sent to all."""


@dataclass(slots=True)
class _Round:
    """One notification on its way to all.

    Attributes:
        uri: The resource that it names.
        begun: When the tool was called.
        latencies: After how long a stream had it, in seconds, one for each that has.
        wanted: How many streams there are.
        over: Done when all have it.
    """

    uri: str
    begun: float
    latencies: list[float]
    wanted: int
    over: asyncio.Future[None]


class _Audience:
    """All streams."""

    def __init__(self) -> None:
        self.round: _Round | None = None
        self.broken: Exception | None = None

    def got(self, data: bytes) -> None:
        """Count a notification."""
        now = time.perf_counter()
        message = json.loads(data)
        uri = message.get("params", {}).get("uri")
        if self.round is None or uri != self.round.uri:
            self.lost(LostNotificationError(f"nobody sent {data!r}"))
            return
        self.round.latencies.append(now - self.round.begun)
        if len(self.round.latencies) == self.round.wanted and not self.round.over.done():
            self.round.over.set_result(None)

    def lost(self, error: Exception) -> None:
        """Have the round fail."""
        self.broken = error
        if self.round is not None and not self.round.over.done():
            self.round.over.set_exception(error)


class _Listener(asyncio.Protocol):
    """One stream."""

    def __init__(self, audience: _Audience, request: bytes) -> None:
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._audience = audience
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._events = Events()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self._transport is not None:
            self._fail(exc or LostNotificationError("a stream ended"))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(error)

    def on_headers_complete(self) -> None:
        """See `httptools.HttpResponseParser`."""
        if self._parser.get_status_code() == _OK:
            self.open.set_result(None)
        else:
            self._fail(
                LostNotificationError(f"status {self._parser.get_status_code()} for a stream")
            )

    def on_body(self, body: bytes) -> None:
        """See `httptools.HttpResponseParser`."""
        for data in self._events.feed(body):
            self._audience.got(data)

    def close(self) -> None:
        """Close the stream, without a word to anybody."""
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.close()

    def _fail(self, error: Exception) -> None:
        if not self.open.done():
            self.open.set_exception(error)
        self._audience.lost(error)


async def fanned_out(plan: Plan, running: Running, kind: str) -> Sample:
    """Open all streams, and tell them something a few times.

    Returns:
        Of each notification of each stream: how many arrived in a second, after how long, and what
        one cost.

    Raises:
        LostNotificationError: One did not arrive, or there was another one.
    """
    async with AsyncExitStack() as stack:
        lines = await stack.enter_async_context(connected(running.urls, plan.streams))
        urls = [running.urls[index % len(running.urls)] for index in range(plan.streams)]
        sessions = await _open_some_at_once(lines, urls, kind)
        ids, joining = new_ids(), calling("join", kind=kind)
        audience = _Audience()
        for place in range(0, plan.streams, _AT_ONCE):
            some = range(place, min(place + _AT_ONCE, plan.streams))
            opened = [_listen(audience, urls[each], sessions[each]) for each in some]
            for listener in await asyncio.gather(*opened):
                stack.callback(listener.close)
        for number, (line, url, session) in enumerate(zip(lines, urls, sessions, strict=True), 1):
            digits = b"%d" % next(ids)
            answer = await line.ask(Post(url, kind, session)(joining.request(digits)))
            calling("join", str(number), kind=kind).check(answer, digits)
        latencies: list[float] = []
        seconds = 0.0
        post = Post(urls[0], kind, sessions[0])
        await _tell_all(audience, lines[0], post, plan.streams, "bench://warm", kind)
        before, client_before = running.cpu(), time.process_time()
        for number in range(plan.broadcasts):
            uri = f"bench://told/{number}"
            taken = await _tell_all(audience, lines[0], post, plan.streams, uri, kind)
            latencies += taken
            seconds += max(taken)
        after = running.cpu()
        return sample_of(
            latencies,
            seconds,
            spent={role: after[role] - before[role] for role in after},
            client_cpu=time.process_time() - client_before,
            resident=running.resident(),
        )


async def _open_some_at_once(lines: Sequence[Line], urls: Sequence[str], kind: str) -> list[bytes]:
    sessions: list[bytes] = []
    for place in range(0, len(lines), _AT_ONCE):
        some = slice(place, place + _AT_ONCE)
        sessions += await open_sessions(lines[some], urls[some], kind)
    return sessions


async def _listen(audience: _Audience, url: str, session: bytes) -> _Listener:
    place, request = urlsplit(url), bodiless("GET", url, session)
    _, listener = await asyncio.get_running_loop().create_connection(
        lambda: _Listener(audience, request), place.hostname or "", place.port or 80
    )
    async with asyncio.timeout(_ALL_SECONDS):
        await listener.open
    return listener


async def _tell_all(
    audience: _Audience, line: Line, post: Post, streams: int, uri: str, kind: str
) -> list[float]:
    """Call the tool; returns after how long each stream had it."""
    if audience.broken is not None:
        raise audience.broken
    digits = b"%d" % next(_broadcast_ids)
    wording = calling("broadcast", str(streams), kind=kind, uri=uri)
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    audience.round = _Round(uri, time.perf_counter(), [], streams, over)
    answer = await line.ask(post(wording.request(digits)))
    wording.check(answer, digits)
    async with asyncio.timeout(_ALL_SECONDS):
        await over
    return audience.round.latencies


_broadcast_ids: Final = iter(range(500_000_000, 600_000_000))
"""Far from those of the calls by which sessions join."""
