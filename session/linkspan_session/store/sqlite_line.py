"""Units of work that run one after another on one SQLite connection, on a thread of its own.

What has gathered while the thread was busy becomes one transaction, in the order it was asked for:
one hop to the thread and one commit for all of it. Each unit keeps what one alone has: what it
raises undoes what it did and nothing else, it sees what those before it wrote, and nobody is told
of its result before it is committed. Above lies `database`, which opens the connections.

Invariants: a unit that its caller gave up before it was taken never runs; every unit that was taken
is told how it went.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from linkspan_session.errors import StoreUnavailableError

T = TypeVar("T")

Work = Callable[[sqlite3.Connection], T]
"""A unit of work. Whatever it raises undoes what it did."""

Connect = Callable[[Path], sqlite3.Connection]

logger = logging.getLogger(__name__)

OPEN_TIMEOUT_SECONDS: Final = 10.0
"""How long opening waits for another process, which may be bringing a large file to its layout."""

_CALL_SECONDS: Final = 2.0
"""How long a unit of work may be in line; one that was not taken by then never is."""

_BUSY_TIMEOUT_SECONDS: Final = 1.0
"""How long a transaction waits for another process."""

_MOST_TOGETHER: Final = 64
_TOGETHER_SECONDS: Final = 0.05
"""How many units are one transaction at most, and after what time no further one joins it: other
processes wait for its end."""


class Line:
    """Those who wait for one connection. Make it with `open`."""

    def __init__(
        self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, begin: str
    ) -> None:
        self._connection = connection
        self._thread = thread
        self._begin = begin
        self._turn = threading.Lock()
        """Held to look at, or change, what is in line and whether the thread runs."""
        self._in_line: deque[_Unit] = deque()
        self._running = False
        self._busy_at = 0.0
        """When the file was found busy last; whoever was in line by then need not try."""
        self._patience_seconds = OPEN_TIMEOUT_SECONDS

    @classmethod
    async def open(cls, path: Path, name: str, begin: str, connect: Connect) -> "Line":
        """Open a connection.

        Args:
            path: The file.
            name: The thread's name.
            begin: The statement that begins a transaction.
            connect: Makes the connection, on the thread.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        loop = asyncio.get_running_loop()
        try:
            connection = await loop.run_in_executor(thread, connect, path)
        except BaseException:
            thread.shutdown()
            raise
        return cls(connection, thread, begin)

    async def run(self, work: Work[T]) -> T:
        """Run a unit of work; one that was taken in time is waited for, however long it takes.

        Raises:
            StoreUnavailableError: SQLite failed, or the unit was in line for too long.
        """
        loop = asyncio.get_running_loop()
        unit = _Unit(work, loop.create_future())
        with self._turn:
            self._in_line.append(unit)
            idle, self._running = not self._running, True
        if idle:
            self._thread.submit(self._work_off)
        impatience = loop.call_later(_CALL_SECONDS, self._lose_patience, unit)
        try:
            result: T = await unit.outcome
        except asyncio.CancelledError:
            self._leave(unit)
            raise
        except sqlite3.Error as error:
            logger.warning("the session store failed: %s", error)
            raise StoreUnavailableError from error
        else:
            return result
        finally:
            impatience.cancel()

    async def close(self) -> None:
        """Finish what is in line and close the connection. Call once, last."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    def _lose_patience(self, unit: "_Unit") -> None:
        if self._leave(unit) and not unit.outcome.done():
            logger.warning("the session store failed: others were in line all the time")
            unit.outcome.set_exception(StoreUnavailableError())

    def _leave(self, unit: "_Unit") -> bool:
        """Take a unit out of the line; returns whether it was in line."""
        with self._turn:
            if unit.taken:
                return False
            self._in_line.remove(unit)
            unit.taken = True
            return True

    # --- on the thread ---------------------------------------------------------------------------

    def _work_off(self) -> None:
        while units := self._take():
            while units:
                settled = units[: self._settle(units)]
                # One call for all: each wakes the loop.
                settled[0].outcome.get_loop().call_soon_threadsafe(_tell, settled)
                units = units[len(settled) :]

    def _take(self) -> "list[_Unit]":
        with self._turn:
            count = min(len(self._in_line), _MOST_TOGETHER)
            units = [self._in_line.popleft() for _ in range(count)]
            for unit in units:
                unit.taken = True
            self._running = bool(units)
        return units

    def _settle(self, units: "list[_Unit]") -> int:
        """Say of the first units how they went; returns of how many."""
        if units[0].asked_at < self._busy_at:
            units[0].error = StoreUnavailableError()
            return 1
        try:
            return self._transact(units)
        except BaseException as error:  # noqa: BLE001 - those who wait are told
            for unit in units:  # also one that failed: what it saw of the others never was
                unit.error = error
            return len(units)

    def _transact(self, units: "list[_Unit]") -> int:
        """Run the first units as one transaction; returns how many.

        Raises:
            Exception: It failed as a whole, and nothing was changed.
        """
        self._roll_back()  # there is something only if the last roll-back failed
        self._be_patient(units[0].asked_at)
        try:
            self._connection.execute(self._begin)
            if len(units) == 1:
                units[0].result = units[0].work(self._connection)
                count = 1
            else:
                count = self._run_together(units)
            self._connection.execute("COMMIT")
        except BaseException as error:
            if is_busy(error):
                self._busy_at = time.monotonic()
            self._roll_back()
            raise
        return count

    def _run_together(self, units: "list[_Unit]") -> int:
        """Run units until it takes long; returns how many were run."""
        enough_at = time.monotonic() + _TOGETHER_SECONDS
        count = 0
        for unit in units:
            self._run_apart(unit)
            count += 1
            if time.monotonic() >= enough_at:
                break
        return count

    def _run_apart(self, unit: "_Unit") -> None:
        """Run a unit so that it can be undone without the others."""
        connection = self._connection
        connection.execute("SAVEPOINT unit")
        try:
            unit.result = unit.work(connection)
        except Exception as error:
            # After some failures, such as a full disk, SQLite has undone the whole transaction.
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO unit")
            unit.error = error
        connection.execute("RELEASE unit")

    def _be_patient(self, asked_at: float) -> None:
        """Have SQLite wait for another process, but no longer than the caller will."""
        left = asked_at + _CALL_SECONDS - time.monotonic()
        seconds = min(_BUSY_TIMEOUT_SECONDS, max(left, 0.0))
        if seconds != self._patience_seconds:
            self._connection.execute(f"PRAGMA busy_timeout = {round(seconds * 1000)}")
            self._patience_seconds = seconds

    def _roll_back(self) -> None:
        # After some failures, such as a full disk, SQLite has rolled back by itself.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


class _Unit:
    """A unit of work, and how it went."""

    __slots__ = ("asked_at", "error", "outcome", "result", "taken", "work")

    def __init__(self, work: Work[Any], outcome: "asyncio.Future[Any]") -> None:
        self.work = work
        self.outcome = outcome
        self.asked_at = time.monotonic()
        self.taken = False
        """Whether it runs, has run, or never will."""
        self.result: Any = None
        self.error: BaseException | None = None


def _tell(units: list[_Unit]) -> None:
    """Tell those who wait how their units went."""
    for unit in units:
        if unit.outcome.done():  # whoever waited has gone
            continue
        if unit.error is None:
            unit.outcome.set_result(unit.result)
        else:
            unit.outcome.set_exception(unit.error)


def is_busy(error: BaseException) -> bool:
    """Tell whether SQLite gave up waiting for another process."""
    return (
        isinstance(error, sqlite3.OperationalError)
        # Those that Python's module raises by itself have no code.
        and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
    )
