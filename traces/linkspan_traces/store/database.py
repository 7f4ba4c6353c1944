"""One SQLite file in write-ahead mode, off the event loop.

A thread owns the connection that writes, another the one that only reads, so that who looks at
traces does not wait for those that come in. `synchronous=NORMAL`: a commit survives the death of
the process; the last few may be lost if the machine loses power, without harm to those before.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from linkspan_process.errors import StartError
from linkspan_traces.errors import StoreError
from linkspan_traces.store.layout import LayoutTooNewError, migrate

T = TypeVar("T")

Work = Callable[[sqlite3.Connection], T]
"""A unit of work, in a transaction of its own. Whatever it raises undoes what it did."""

_BUSY_TIMEOUT_SECONDS: Final = 2.0
"""How long to wait for another process that has the same file open."""

_MAX_WAL_BYTES: Final = 16 * 1024 * 1024
"""What the write-ahead log is cut back to once all of it is in the file."""


class Database:
    """An open file. Make it with `open`."""

    def __init__(self, writing: "_Line", reading: "_Line") -> None:
        self._writing = writing
        self._reading = reading

    @classmethod
    async def open(cls, path: Path) -> "Database":
        """Open the file, and make it and its folder if they are not there.

        Raises:
            StartError: It cannot be opened, or a newer version of Linkspan made it.
        """
        writing = await _Line.open(path, "traces-write", "BEGIN IMMEDIATE", _connect)
        try:
            reading = await _Line.open(path, "traces-read", "BEGIN DEFERRED", _connect_to_read)
        except BaseException:
            await writing.close()
            raise
        return cls(writing, reading)

    async def read(self, work: Work[T]) -> T:
        """Run a unit of work that only reads; cancelling it leaves it to run to its end.

        Raises:
            StoreError: SQLite failed.
        """
        return await self._reading.run(work)

    async def write(self, work: Work[T]) -> T:
        """Run a unit of work that may write; cancelling it leaves open whether it was done.

        Raises:
            StoreError: SQLite failed; nothing was changed.
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
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._transact, work)
        except sqlite3.Error as error:
            raise StoreError(f"the trace store failed: {error}") from error

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    def _transact(self, work: Work[T]) -> T:
        self._roll_back()  # there is something only if the last roll-back failed
        try:
            self._connection.execute(self._begin)
            result = work(self._connection)
            self._connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return result

    def _roll_back(self) -> None:
        # After some failures, such as a full disk, SQLite has rolled back by itself.
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _connect(path: Path) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)  # traces hold what tools were called with
        connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_MAX_WAL_BYTES}")
        migrate(connection)
    except (sqlite3.Error, OSError) as error:
        _close_if_open(connection)
        raise StartError(f"cannot open the trace store {path}: {error}") from error
    except LayoutTooNewError:
        _close_if_open(connection)
        raise StartError(
            f"a newer version of Linkspan made {path}; upgrade, or choose another folder with --data"
        ) from None
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise StartError(f"cannot open the trace store {path}: {error}") from error
    return connection


def _close_if_open(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()
