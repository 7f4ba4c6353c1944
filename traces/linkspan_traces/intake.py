"""From bytes to the store: bounded waiting, decoding on a thread, commits that several share.

Above lie the two doors of OTLP; below lie `otlp.decode` and `store.writing`. A sender has its answer
once its spans are on record. What waits, counted in bytes as it came, is bounded: past the bound the
next one is refused with `BusyError`, and loses nothing by coming again.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Final

from linkspan_traces.errors import BusyError, StoreError, TracesError
from linkspan_traces.live import Live
from linkspan_traces.model import Decoded, Received
from linkspan_traces.store.database import Database
from linkspan_traces.store.writing import Written, trim, write_spans

_MAX_COMMIT_SPANS: Final = 5_000
"""How many spans one transaction writes, so that none takes long."""

_TRIM_EVERY_SECONDS: Final = 60.0
"""How often the age of traces is looked at while nothing comes."""

_MILLIS: Final = 1000

logger = logging.getLogger(__name__)

Decode = Callable[[bytes], Decoded]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept, and how much may wait.

    Attributes:
        max_bytes: How large the file may grow.
        max_age_seconds: How long a trace is kept after its last span came.
        max_trace_spans: How many spans of one trace are kept.
        max_backlog_bytes: How much may wait to be written.
    """

    max_bytes: int
    max_age_seconds: float
    max_trace_spans: int
    max_backlog_bytes: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one request.

    Attributes:
        rejected: How many of its spans were not kept.
        reason: Why the first of them was not; empty if all were.
    """

    rejected: int
    reason: str


class Room:
    """What one request takes of the backlog; grows with what has come of it."""

    def __init__(self, intake: "Intake") -> None:
        self._intake = intake
        self.taken = 0

    def grow(self, count: int) -> None:
        """Take more.

        Raises:
            BusyError: There is no more.
        """
        self._intake.grow(count)
        self.taken += count


@dataclass(frozen=True, slots=True)
class _Waiting:
    spans: Sequence[Received]
    refused: "asyncio.Future[int]"


class Intake:
    """Takes export requests. `run` has to run for that."""

    def __init__(
        self,
        database: Database,
        live: Live,
        limits: Limits,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Make it.

        Args:
            database: Where spans go.
            live: Whom to tell what has changed.
            limits: How much is kept, and how much may wait.
            wall_clock: The time, in seconds since the Unix epoch.
        """
        self._database = database
        self._live = live
        self._limits = limits
        self._wall_clock = wall_clock
        self._backlog_bytes = 0
        self._waiting: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._decoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="traces-decode")
        self.refused_requests = 0
        """How many requests were told to come again."""
        self.rejected_spans = 0
        """How many spans were not kept because they were bad, or too many for their trace."""

    @contextmanager
    def room(self) -> Generator[Room]:
        """Count a request until the block is left."""
        room = Room(self)
        try:
            yield room
        finally:
            self._backlog_bytes -= room.taken

    def grow(self, count: int) -> None:
        """Count more bytes of a request; see `Room.grow`."""
        if self._backlog_bytes + count > self._limits.max_backlog_bytes:
            self.refused_requests += 1
            raise BusyError("too much is waiting to be written")
        self._backlog_bytes += count

    async def take(self, body: bytes, decode: Decode) -> Taken:
        """Decode a request, write it, and return what became of it.

        Cancelling it leaves open whether the spans are kept.

        Raises:
            BadRequestError: As `decode` does.
            StoreError: SQLite failed; nothing was kept.
        """
        loop = asyncio.get_running_loop()
        decoded = await loop.run_in_executor(self._decoder, decode, body)
        refused = 0
        if decoded.spans:
            waiting = _Waiting(decoded.spans, loop.create_future())
            self._waiting.append(waiting)
            self._wake.set()
            refused = await waiting.refused
        rejected = decoded.rejected + refused
        self.rejected_spans += rejected
        reason = decoded.reason
        if refused and not reason:
            reason = f"a trace has more than {self._limits.max_trace_spans} spans"
        return Taken(rejected, reason)

    async def run(self) -> None:
        """Write what comes until cancelled; what waits then is given up."""
        try:
            await self._trim()
            while True:
                try:
                    async with asyncio.timeout(_TRIM_EVERY_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    await self._trim()
                    continue
                await self._write(self._next())
        finally:
            self._decoder.shutdown(wait=False)
            for waiting in self._waiting:
                if not waiting.refused.done():
                    waiting.refused.set_exception(StoreError("the backend is shutting down"))

    def _next(self) -> list[_Waiting]:
        """Take requests for one commit, in the order in which they came."""
        taken: list[_Waiting] = []
        count = 0
        for waiting in self._waiting:
            if taken and count + len(waiting.spans) > _MAX_COMMIT_SPANS:
                break
            taken.append(waiting)
            count += len(waiting.spans)
        del self._waiting[: len(taken)]
        if not self._waiting:
            self._wake.clear()
        return taken

    async def _write(self, taken: Sequence[_Waiting]) -> None:
        requests = [each.spans for each in taken]
        now = self._wall_clock()
        try:
            written = await self._database.write(
                lambda connection: self._write_and_trim(connection, requests, now)
            )
        except Exception as error:  # noqa: BLE001 - the next commit may do; senders are told
            logger.warning("spans were not written: %s", error)
            failure = error if isinstance(error, TracesError) else StoreError("spans not written")
            for each in taken:
                if not each.refused.done():
                    each.refused.set_exception(failure)
            return
        for each, refused in zip(taken, written.refused, strict=True):
            if not each.refused.done():
                each.refused.set_result(refused)
        self._live.publish(written.changed)

    def _write_and_trim(
        self, connection: Connection, requests: Sequence[Sequence[Received]], now: float
    ) -> Written:
        written = write_spans(
            connection,
            requests,
            now_millis=round(now * _MILLIS),
            max_trace_spans=self._limits.max_trace_spans,
        )
        self._trim_at(connection, now)
        return written

    def _trim_at(self, connection: Connection, now: float) -> int:
        return trim(
            connection,
            max_bytes=self._limits.max_bytes,
            received_since_millis=round((now - self._limits.max_age_seconds) * _MILLIS),
        )

    async def _trim(self) -> None:
        now = self._wall_clock()
        try:
            gone = await self._database.write(lambda connection: self._trim_at(connection, now))
        except StoreError as error:
            logger.warning("old traces were not taken out: %s", error)
        else:
            if gone:
                logger.info("%d old traces were taken out", gone)
