"""One SQLite file in write-ahead mode, off the event loop.

A thread owns the connection that writes, so units of work run one after another in the order they
were asked for, each a transaction; another owns the one that only reads, so that who reads does not
wait for who writes. Other processes of this machine may have the same file open: a unit that writes
takes the file's write lock before it reads anything, and waits for it about a second. If that was
in vain, so it is for all who were in line by then. Nobody is in line for more than two seconds.
`synchronous=NORMAL`: a commit survives the death of the process; the last few may be lost if the
machine loses power, without harm to those before.
Above lie the stores, which know the tables; this knows none. Below lies `sqlite_layout`.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from linkspan_process.errors import StartError
from linkspan_session.errors import StoreUnavailableError
from linkspan_session.store.sqlite_layout import LayoutTooNewError, migrate

T = TypeVar("T")

Work = Callable[[sqlite3.Connection], T]
"""A unit of work. Whatever it raises undoes what it did."""

logger = logging.getLogger(__name__)

_CALL_SECONDS: Final = 2.0
"""How long a unit of work may be in line; one that has not begun by then never does."""

_BUSY_TIMEOUT_SECONDS: Final = 1.0
"""How long a unit of work waits for another process."""

_OPEN_TIMEOUT_SECONDS: Final = 10.0
"""How long opening waits for another process, which may be bringing a large file to its layout."""

_PAUSE_SECONDS: Final = 0.01
"""How long to wait before SQLite is asked anew."""


class SqliteDatabase:
    """An open file and the two lines of those who use it. Make it with `open`."""

    def __init__(self, writing: "_Line", reading: "_Line") -> None:
        self._writing = writing
        self._reading = reading

    @classmethod
    async def open(cls, path: Path) -> "SqliteDatabase":
        """Open the file, and make it and its folder if they are not there.

        Raises:
            StartError: It cannot be opened, or a newer version of Linkspan made it.
        """
        writing = await _Line.open(path, "session-store", "BEGIN IMMEDIATE", _connect)
        try:
            reading = await _Line.open(
                path, "session-store-reads", "BEGIN DEFERRED", _connect_to_read
            )
        except BaseException:
            await writing.close()
            raise
        return cls(writing, reading)

    async def read(self, work: Work[T]) -> T:
        """Run a unit of work that only reads, and return what it returns.

        It sees the file as it is at one moment, with all that `write` returned from before, and
        waits for nobody who writes.

        Raises:
            StoreUnavailableError: SQLite failed, or others read all the time.
        """
        return await self._reading.run(work)

    async def write(self, work: Work[T]) -> T:
        """Run a unit of work that may write, and return what it returns.

        Nobody else writes from before its first statement until after its last one. Cancelling it
        leaves it open whether the work was done.

        Raises:
            StoreUnavailableError: SQLite failed, or others wrote all the time; nothing was changed.
        """
        return await self._writing.run(work)

    async def close(self) -> None:
        """Finish what is under way and close the file. Call once, last."""
        await self._reading.close()
        await self._writing.close()


class _Line:
    """Units of work that run one after another, on a connection and a thread of their own."""

    def __init__(
        self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, begin: str
    ) -> None:
        self._connection = connection
        self._thread = thread
        self._begin = begin
        self._busy_at = 0.0
        """When the file was found busy last; whoever was in line by then need not try."""
        self._patience_seconds = _OPEN_TIMEOUT_SECONDS

    @classmethod
    async def open(
        cls, path: Path, name: str, begin: str, connect: Callable[[Path], sqlite3.Connection]
    ) -> "_Line":
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        loop = asyncio.get_running_loop()
        try:
            connection = await loop.run_in_executor(thread, connect, path)
        except BaseException:
            thread.shutdown()
            raise
        return cls(connection, thread, begin)

    async def run(self, work: Work[T]) -> T:
        """Run a unit of work; one that has begun in time is waited for, however long it takes."""
        unit = self._thread.submit(self._transact, time.monotonic(), work)
        outcome = asyncio.wrap_future(unit)
        try:
            await asyncio.wait((outcome,), timeout=_CALL_SECONDS)
            if not outcome.done() and unit.cancel():
                logger.warning("the session store failed: others were in line all the time")
                raise StoreUnavailableError
            return await outcome
        except asyncio.CancelledError:
            outcome.cancel()
            raise
        except sqlite3.Error as error:
            logger.warning("the session store failed: %s", error)
            raise StoreUnavailableError from error

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    # --- on the thread ---------------------------------------------------------------------------

    def _transact(self, asked_at: float, work: Work[T]) -> T:
        if asked_at < self._busy_at:
            raise StoreUnavailableError
        self._roll_back()  # there is something only if the last roll-back failed
        self._be_patient(asked_at)
        try:
            self._connection.execute(self._begin)
            result = work(self._connection)
            self._connection.execute("COMMIT")
        except BaseException as error:
            if _is_busy(error):
                self._busy_at = time.monotonic()
            self._roll_back()
            raise
        return result

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


def _is_busy(error: BaseException) -> bool:
    return (
        isinstance(error, sqlite3.OperationalError)
        and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
    )


def _connect(path: Path) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds session ids, which are as good as keys
        connection = sqlite3.connect(
            path, timeout=_OPEN_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection)
    except (sqlite3.Error, OSError) as error:
        _close_if_open(connection)
        raise StartError(f"cannot open the session store {path}: {error}") from error
    except LayoutTooNewError:
        _close_if_open(connection)
        raise StartError(
            f"a newer version of Linkspan made {path}; upgrade, or choose another"
        ) from None
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a file that is there, in write-ahead mode and of this layout."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise StartError(f"cannot open the session store {path}: {error}") from error
    return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Set the mode, which the file then keeps.

    Of several that do so to a new file at once, SQLite refuses some without waiting: what they
    wait for might wait for them (sqlite.org/c3ref/busy_handler.html).
    """
    deadline = time.monotonic() + _OPEN_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _close_if_open(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()
