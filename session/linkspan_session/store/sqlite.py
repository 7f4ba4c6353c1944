"""All that session servers keep, in one SQLite file of one machine: the default store."""

from pathlib import Path
from typing import Final

from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES
from linkspan_session.store.database import SqliteDatabase
from linkspan_session.store.sqlite_nodes import MachineClock, SqliteNodeRegistry
from linkspan_session.store.sqlite_sessions import SqliteSessionStore
from linkspan_session.store.sqlite_tasks import SqliteTaskStore


class SqliteStore:
    """A `Store` in one file, which other processes of the machine may share. Make it with `open`.

    Attributes:
        sessions: The sessions, their streams and their storage.
        tasks: The tasks.
        nodes: The session servers that are alive.
    """

    def __init__(self, database: SqliteDatabase, clock: MachineClock, max_log_bytes: int) -> None:
        self._database = database
        self.sessions: Final = SqliteSessionStore(database, clock, max_log_bytes=max_log_bytes)
        self.tasks: Final = SqliteTaskStore(database)
        self.nodes: Final = SqliteNodeRegistry(database, clock)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        max_log_bytes: int = DEFAULT_MAX_LOG_BYTES,
        clock: MachineClock | None = None,
    ) -> "SqliteStore":
        """Open the file, and make it and its folder if they are not there.

        Args:
            path: Where it is; on a disk of this machine, because SQLite shares memory with the
                other processes that have it open.
            max_log_bytes: How much of each session's events is kept, in bytes of messages.
            clock: What leases are measured by; None for the machine's own clock.

        Raises:
            StartError: It cannot be opened, or a newer version of Linkspan made it.
        """
        clock = clock or MachineClock.of_this_machine()
        return cls(await SqliteDatabase.open(path), clock, max_log_bytes)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._database.close()
