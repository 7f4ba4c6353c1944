"""Deadlines of many calls that mostly end before them, on one timer of the loop.

A timer for each call costs more than the call's frames do, and one that is cancelled stays in the
loop's heap. Above lie both tunnels. Invariant: a deadline is told of after it, by `GRAIN_SECONDS`
at most if the loop keeps up, and never before.
"""

import asyncio
import heapq
from typing import Final, Protocol

GRAIN_SECONDS: Final = 1 / 256
"""How far deadlines are apart that are told of separately."""

MAX_TIMEOUT_SECONDS: Final = 366.0 * 24 * 3600
"""How far a deadline can be off; a later one is as good as none."""


class Expiring(Protocol):
    """What has a deadline."""

    __slots__ = ()

    def expire(self) -> None:
        """Do what is due; must not raise."""
        ...


class Deadlines:
    """Tells calls when their time is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, set[Expiring]] = {}
        self._ticks: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0

    def add(self, deadline: float, call: Expiring) -> int:
        """Have a call told once its deadline, a time of the loop, is over.

        Returns:
            What `remove` wants to know.
        """
        tick = int(deadline / GRAIN_SECONDS) + 1
        calls = self._due.get(tick)
        if calls is not None:
            calls.add(call)
            return tick
        self._due[tick] = {call}
        heapq.heappush(self._ticks, tick)
        if self._timer is None or tick < self._timer_tick:
            self._arm(tick)
        return tick

    def remove(self, tick: int, call: Expiring) -> None:
        """Forget a call; does nothing if it was told."""
        calls = self._due.get(tick)
        if calls is not None:
            calls.discard(call)

    def close(self) -> None:
        """Forget all calls."""
        self._due.clear()
        self._ticks.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = tick
        self._timer = self._loop.call_at(tick * GRAIN_SECONDS, self._tell)

    def _tell(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._ticks and self._ticks[0] * GRAIN_SECONDS <= now:
            for call in self._due.pop(heapq.heappop(self._ticks), ()):
                call.expire()
        while self._ticks and not self._due[self._ticks[0]]:
            del self._due[heapq.heappop(self._ticks)]
        if self._ticks and self._timer is None:
            self._arm(self._ticks[0])
