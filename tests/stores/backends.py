"""The stores that the suite is put to, each the real thing: a file or a server, never a stand-in.

A store joins by a `Backend` in `BACKENDS`.
"""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Final, Protocol

from tests.stores.redis_backends import redis_backend, redis_cluster_backend

from linkspan_session.store.base import DEFAULT_MAX_LOG_BYTES, SessionId
from linkspan_session.store.opening import Store
from linkspan_session.store.sqlite import SqliteStore
from linkspan_session.store.tasks import TaskId

NEWER: Final = 99
"""A version of records that nobody knows yet."""

OLDEST: Final = 1
"""The first version of records, which is read for ever."""

LAYOUTS: Final = Path(__file__).parent / "layouts"
"""SQLite files of older layouts, made by the Linkspan of their time: `1.sql` and so on."""


class Backend(Protocol):
    """One kind of store, and how to do to it what happens to stores."""

    @property
    def expires_by_itself(self) -> bool:
        """Whether sessions expire by the store's own clock, whatever time `expire` is given."""
        ...

    async def open(self, *, max_log_bytes: int = DEFAULT_MAX_LOG_BYTES) -> Store:
        """Open the store, which keeps what it held when it was last closed.

        May be called several times: what one of them writes, all of them see.
        """
        ...

    def take_away(self) -> None:
        """Have the store fail at whatever it is asked, soon if not at once."""
        ...

    def bring_back(self) -> None:
        """Undo `take_away`; the store holds what it held."""
        ...

    def set_session_version(self, session_id: SessionId, version: int) -> None:
        """Have a session's record look as if the Linkspan of that record version had written it."""
        ...

    def set_task_version(self, task_id: TaskId, version: int) -> None:
        """Have a task's record look as if the Linkspan of that record version had written it."""
        ...


class SqliteBackend:
    """A file in a folder that is not there yet."""

    expires_by_itself = False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "data" / "sessions.db"

    async def open(self, *, max_log_bytes: int = DEFAULT_MAX_LOG_BYTES) -> SqliteStore:
        return await SqliteStore.open(self.path, max_log_bytes=max_log_bytes)

    def take_away(self) -> None:
        for table in self._tables():
            self.execute(f"ALTER TABLE {table} RENAME TO away_{table}")

    def bring_back(self) -> None:
        for table in self._tables():
            self.execute(f"ALTER TABLE {table} RENAME TO {table.removeprefix('away_')}")

    def set_session_version(self, session_id: SessionId, version: int) -> None:
        self.execute(
            "UPDATE sessions SET record_version = ? WHERE session_id = ?", version, session_id
        )

    def set_task_version(self, task_id: TaskId, version: int) -> None:
        self.execute("UPDATE tasks SET record_version = ? WHERE task_id = ?", version, task_id)

    def put_layout(self, layout: int) -> None:
        """Put a file of an older layout where the store will be."""
        self.path.parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript((LAYOUTS / f"{layout}.sql").read_text("utf-8"))

    def execute(self, statement: str, *parameters: str | int) -> list[tuple[object, ...]]:
        """Run a statement behind the store's back; returns its rows."""
        with closing(sqlite3.connect(self.path, timeout=5)) as connection, connection:
            return connection.execute(statement, parameters).fetchall()

    @contextmanager
    def another_writer(self) -> Generator[sqlite3.Connection]:
        """Hold the file's write lock."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield other

    def _tables(self) -> list[str]:
        rows = self.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return [str(name) for (name,) in rows]


@contextmanager
def sqlite_backend(folder: Path) -> Generator[SqliteBackend]:
    """A file in `folder`."""
    yield SqliteBackend(folder)


BACKENDS: Final[dict[str, Callable[[Path], AbstractContextManager[Backend]]]] = {
    "sqlite": sqlite_backend,
    "valkey": redis_backend,
    "valkey-cluster": redis_cluster_backend,
}
"""How to make each kind of store, empty, in a folder of its own, until the block is left."""
