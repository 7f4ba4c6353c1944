"""Leases of session servers in SQLite, by a clock that all processes of the machine share.

The clock never jumps, but starts anew with the machine: a lease of another boot is over. Where the
system does not say which boot it is, a lease that reaches further than it is long is of another.
"""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from linkspan_session.store.database import SqliteDatabase
from linkspan_session.store.nodes import NodeId, NodeLoad

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""Linux, random(4): a UUID made once when the machine started."""

_NANOS: Final = 1_000_000_000

LEASE_COLUMNS: Final = "nodes.boot_id, nodes.until_nanos, nodes.lease_nanos"
"""What `is_held` takes, for queries that join `nodes`."""


@dataclass(frozen=True, slots=True)
class MachineClock:
    """What leases are measured by.

    Attributes:
        boot_id: Differs from one start of the machine to the next; empty if nobody knows.
        now_nanos: A monotonic clock, in nanoseconds, the same in every process. Python's own is
            that: "always available and always system-wide" (`time.monotonic`).
    """

    boot_id: str
    now_nanos: Callable[[], int] = time.monotonic_ns

    @classmethod
    def of_this_machine(cls) -> "MachineClock":
        """Return the clock of the machine that this runs on."""
        try:
            return cls(_BOOT_ID.read_text("ascii").strip())
        except OSError:
            return cls("")


class SqliteNodeRegistry:
    """A `NodeRegistry` in an open database."""

    def __init__(self, database: SqliteDatabase, clock: MachineClock) -> None:
        self._database = database
        self._clock = clock

    async def hold(
        self, node: NodeId, *, lease_seconds: float, live_sessions: int
    ) -> tuple[NodeLoad, ...]:
        """See `NodeRegistry.hold`. Removes what leases are over."""
        lease_nanos = round(lease_seconds * _NANOS)

        def work(connection: sqlite3.Connection) -> tuple[NodeLoad, ...]:
            now = self._clock.now_nanos()
            connection.execute(
                "INSERT INTO nodes (node, boot_id, until_nanos, lease_nanos, live_sessions) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (node) DO UPDATE SET "
                "boot_id = excluded.boot_id, until_nanos = excluded.until_nanos, "
                "lease_nanos = excluded.lease_nanos, live_sessions = excluded.live_sessions",
                (node, self._clock.boot_id, now + lease_nanos, lease_nanos, live_sessions),
            )
            connection.execute(
                "DELETE FROM nodes WHERE boot_id != ? OR until_nanos <= ? "
                "OR until_nanos - lease_nanos > ?",
                (self._clock.boot_id, now, now),
            )
            rows = connection.execute("SELECT node, live_sessions FROM nodes")
            return tuple(NodeLoad(NodeId(name), load) for name, load in rows)

        return await self._database.write(work)

    async def is_alive(self, node: NodeId) -> bool:
        """See `NodeRegistry.is_alive`."""

        def work(connection: sqlite3.Connection) -> bool:
            row = connection.execute(
                f"SELECT {LEASE_COLUMNS} FROM nodes WHERE node = ?",  # noqa: S608
                (node,),
            ).fetchone()
            return row is not None and is_held(row, self._clock)

        return await self._database.read(work)

    async def leave(self, node: NodeId) -> None:
        """See `NodeRegistry.leave`."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM nodes WHERE node = ?", (node,))

        await self._database.write(work)


def is_held(lease: tuple[str | None, int | None, int | None], clock: MachineClock) -> bool:
    """Tell whether a lease, as `LEASE_COLUMNS` of a row, is held now; all None is no lease.

    To be called after the row was read: a lease that somebody renews in between must not look as
    if it began in the future.
    """
    boot_id, until_nanos, lease_nanos = lease
    if boot_id != clock.boot_id or until_nanos is None or lease_nanos is None:
        return False
    return 0 < until_nanos - clock.now_nanos() <= lease_nanos
