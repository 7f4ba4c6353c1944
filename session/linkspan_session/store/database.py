"""One SQLite file in write-ahead mode, off the event loop.

A thread owns the connection that writes, so units of work run one after another in the order they
were asked for; another owns the one that only reads, so that who reads does not wait for who
writes. Other processes of this machine may have the same file open: who writes takes the file's
write lock before anything is read, and waits for it about a second. If that was in vain, so it is
for all who were in line by then. Nobody is in line for more than two seconds.
`synchronous=NORMAL`: a commit survives the death of the process; the last few may be lost if the
machine loses power, without harm to those before.
Above lie the stores, which know the tables; this knows none. Below lie `sqlite_line`, which runs
what has gathered as one transaction, and `sqlite_layout`.
"""

import sqlite3
import time
from pathlib import Path
from typing import Final, TypeVar

from linkspan_process.errors import StartError
from linkspan_session.store.sqlite_layout import LayoutTooNewError, migrate
from linkspan_session.store.sqlite_line import OPEN_TIMEOUT_SECONDS, Line, Work, is_busy

T = TypeVar("T")

_PAUSE_SECONDS: Final = 0.01
"""How long to wait before SQLite is asked anew."""


class SqliteDatabase:
    """An open file and the two lines of those who use it. Make it with `open`."""

    def __init__(self, writing: Line, reading: Line) -> None:
        self._writing = writing
        self._reading = reading

    @classmethod
    async def open(cls, path: Path) -> "SqliteDatabase":
        """Open the file, and make it and its folder if they are not there.

        Raises:
            StartError: It cannot be opened, or a newer version of Linkspan made it.
        """
        writing = await Line.open(path, "session-store", "BEGIN IMMEDIATE", _connect)
        try:
            reading = await Line.open(
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


def _connect(path: Path) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds session ids, which are as good as keys
        connection = sqlite3.connect(
            path, timeout=OPEN_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
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
    deadline = time.monotonic() + OPEN_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _close_if_open(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        connection.close()
