"""One SQLite file in write-ahead mode, off the event loop.

One thread owns the connection, so units of work run one after another in the order they were asked
for, each a transaction. Other processes of this machine may have the same file open: a unit that
writes takes the file's write lock before it reads anything, and waits for it about a second.
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

_BUSY_TIMEOUT_SECONDS: Final = 1.0
"""How long a unit of work waits for another process."""

_OPEN_TIMEOUT_SECONDS: Final = 10.0
"""How long opening waits for another process, which may be bringing a large file to its layout."""

_PAUSE_SECONDS: Final = 0.01
"""How long to wait before SQLite is asked anew."""


class SqliteDatabase:
    """An open file and the thread that owns it. Make it with `open`."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    @classmethod
    async def open(cls, path: Path) -> "SqliteDatabase":
        """Open the file, and make it and its folder if they are not there.

        Raises:
            StartError: It cannot be opened, or a newer version of Linkspan made it.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="session-store")
        loop = asyncio.get_running_loop()
        try:
            connection = await loop.run_in_executor(thread, _connect, path)
        except BaseException:
            thread.shutdown()
            raise
        return cls(connection, thread)

    async def read(self, work: Work[T]) -> T:
        """Run a unit of work that only reads, and return what it returns.

        It sees the file as it is at one moment, and waits for nobody.

        Raises:
            StoreUnavailableError: SQLite failed.
        """
        return await self._run("BEGIN DEFERRED", work)

    async def write(self, work: Work[T]) -> T:
        """Run a unit of work that may write, and return what it returns.

        Nobody else writes from before its first statement until after its last one. Cancelling it
        leaves it open whether the work was done.

        Raises:
            StoreUnavailableError: SQLite failed, or others wrote all the time; nothing was changed.
        """
        return await self._run("BEGIN IMMEDIATE", work)

    async def close(self) -> None:
        """Finish what is under way and close the file. Call once, last."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    async def _run(self, begin: str, work: Work[T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._transact, begin, work)
        except sqlite3.Error as error:
            logger.warning("the session store failed: %s", error)
            raise StoreUnavailableError from error

    def _transact(self, begin: str, work: Work[T]) -> T:
        self._roll_back()  # there is something only if the last roll-back failed
        try:
            self._connection.execute(begin)
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
        path.touch(mode=0o600)  # it holds session ids, which are as good as keys
        connection = sqlite3.connect(
            path, timeout=_OPEN_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        migrate(connection)
        connection.execute(f"PRAGMA busy_timeout = {round(_BUSY_TIMEOUT_SECONDS * 1000)}")
    except (sqlite3.Error, OSError) as error:
        _close_if_open(connection)
        raise StartError(f"cannot open the session store {path}: {error}") from error
    except LayoutTooNewError:
        _close_if_open(connection)
        raise StartError(
            f"a newer version of Linkspan made {path}; upgrade, or choose another"
        ) from None
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
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _close_if_open(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()
