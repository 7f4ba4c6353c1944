"""What ends or interrupts replies: told to each of many without a task or a timer of its own.

Pure but for the one timer of a `Ticker`. Above lie `relay` and `calls`.
"""

import asyncio
from collections.abc import Callable
from typing import Final

Watcher = Callable[[], None]


class Signal:
    """Something that happens once."""

    def __init__(self) -> None:
        self.happened = False
        self._watchers: set[Watcher] = set()

    def tell(self) -> None:
        """Say that it happens; tells whoever watches, once."""
        self.happened = True
        watchers, self._watchers = self._watchers, set()
        for watcher in watchers:
            watcher()

    def watch(self, watcher: Watcher) -> None:
        """Have `watcher` called when it happens, which may be never; not if it has happened."""
        self._watchers.add(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Have it called no more."""
        self._watchers.discard(watcher)


class Sign:
    """Says to the one who waits that it is time to look again; `asyncio.Event` serves any number."""

    __slots__ = ("_given", "_loop", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._given = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        """Give the sign."""
        self._given = True
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def clear(self) -> None:
        """Take it back, before whoever waits looks."""
        self._given = False

    async def wait(self) -> None:
        """Wait for the sign, unless it is given; for one at a time."""
        if self._given:
            return
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Ticker:
    """Tells all that watch, again and again, that some time has passed; silent while nobody does."""

    def __init__(self, every_seconds: float) -> None:
        self._every_seconds: Final = every_seconds
        self._watchers: set[Watcher] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, watcher: Watcher) -> None:
        """Have `watcher` called at each tick."""
        self._watchers.add(watcher)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every_seconds, self._tick)

    def unwatch(self, watcher: Watcher) -> None:
        """Have it called no more."""
        self._watchers.discard(watcher)

    def _tick(self) -> None:
        self._timer = None
        if not self._watchers:
            return
        self._timer = asyncio.get_running_loop().call_later(self._every_seconds, self._tick)
        for watcher in list(self._watchers):
            watcher()
