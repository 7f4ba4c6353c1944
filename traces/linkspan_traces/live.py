"""Who watches traces as they come, and what they have yet to be told.

A watcher that is slow is told less often, never late and never at the cost of others: what it has
yet to hear is a set of trace ids, bounded; past that it is told to look anew.
"""

import asyncio
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final

from linkspan_traces.errors import BusyError

_MAX_WATCHERS: Final = 64
_MAX_PENDING: Final = 500


class Watcher:
    """One who watches. Make it with `Live.watching`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed_at: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._lost = False

    def tell(self, trace_ids: Iterable[str]) -> None:
        """Note that these traces have changed."""
        now = self._clock()
        for trace_id in trace_ids:
            self._changed_at.pop(trace_id, None)
            self._changed_at[trace_id] = now
        if len(self._changed_at) > _MAX_PENDING:
            self._changed_at.clear()
            self._lost = True
        self._wake.set()

    async def wait(self, timeout_seconds: float) -> bool:
        """Wait until something has changed since the last `take`; returns whether it has."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> tuple[dict[str, float], bool]:
        """Return which traces have changed and for how many seconds each has not again.

        And whether there were so many that they are not known.
        """
        now = self._clock()
        taken = {trace_id: now - at for trace_id, at in self._changed_at.items()}
        lost, self._lost = self._lost, False
        self._changed_at = {}
        self._wake.clear()
        return taken, lost

    def put_back(self, trace_id: str, quiet_seconds: float) -> None:
        """Keep a trace for a later `take`, unless it has changed again; wakes nobody."""
        self._changed_at.setdefault(trace_id, self._clock() - quiet_seconds)


class Live:
    """Everybody who watches."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nobody.

        Args:
            clock: Tells the time in seconds; never goes back.
        """
        self._clock = clock
        self._watchers: set[Watcher] = set()

    def publish(self, trace_ids: Iterable[str]) -> None:
        """Tell everybody which traces have changed."""
        changed = list(trace_ids)
        for watcher in self._watchers:
            watcher.tell(changed)

    @contextmanager
    def watching(self) -> Generator[Watcher]:
        """Watch until the block is left.

        Raises:
            BusyError: Too many watch already.
        """
        if len(self._watchers) >= _MAX_WATCHERS:
            raise BusyError("too many watch already")
        watcher = Watcher(self._clock)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
