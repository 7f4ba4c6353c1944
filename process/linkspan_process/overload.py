"""Whether a process has more to do than it can, and which requests it turns away then.

Above lie `linkspan_worker` and `linkspan_session`, which ask for each request; below lies the event
loop. `Shedder` is the decision, pure; `LoadGate` tells it how far behind the loop is, and `QueueGate`
how long others took to begin with what they were sent.

What is measured of a loop is by how much a timer comes late: the time that whatever is ready waits for
its turn; of a queue, the shortest wait of a while: if even that is long, there is always a queue. If
it lasts over a target while many requests are being served, too many come, and a share of them is
turned away: none at the target, all but a few at twice the target. A share of those that come rather
than a number of those that run, because most requests of MCP wait for something, and those cost
nothing. It follows the delay at once, without a memory that could swing.

The idea of a target for the time in a queue, and of heeding only what lasts, is CoDel's (RFC 8289).
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Final

logger = logging.getLogger(__name__)

LEAST_RUNNING: Final = 32
"""With fewer requests than this it is not their number that keeps the process busy."""

LASTING: Final = 2
"""After how many looks in a row a delay is heeded: one may be a handler that blocks."""

MOST_SHARE: Final = 0.98
"""How large the share becomes: some are always served."""

_EVERY_SECONDS: Final = 0.02
"""How often is looked, while there are enough requests."""

_WHILE_SECONDS: Final = 0.05
"""Of what time the shortest wait counts."""

_KNOWN_SECONDS: Final = 5.0
"""For how long a queue counts of which nothing is heard."""

_LOG_EVERY_SECONDS: Final = 60.0


class Shedder:
    """Decides which requests are turned away."""

    __slots__ = ("_owed", "_target_seconds", "_times_over", "share")

    def __init__(self, target_seconds: float) -> None:
        """Begin with turning nobody away.

        Args:
            target_seconds: How far behind the process may be.
        """
        self._target_seconds: Final = target_seconds
        self._owed = 0.0
        self._times_over = 0
        self.share = 0.0
        """Which share of the requests is turned away; 0 for none."""

    def measured(self, delay_seconds: float) -> None:
        """Take how far behind the process is."""
        excess = delay_seconds / self._target_seconds - 1
        self._times_over = self._times_over + 1 if excess > 0 else 0
        self.share = min(excess, MOST_SHARE) if self._times_over >= LASTING else 0.0

    def turns_away(self) -> bool:
        """Decide about one request; evenly spread, without chance."""
        if not self.share:
            return False
        self._owed += self.share
        if self._owed < 1:
            return False
        self._owed -= 1
        return True


class QueueGate:
    """Asks a shedder about requests, and tells it how long those before them waited to be begun."""

    __slots__ = ("_began", "_clock", "_heard_at", "_least", "_shedder")

    def __init__(
        self, target_seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin.

        Args:
            target_seconds: How long requests may wait.
            clock: The time in seconds.
        """
        self._shedder = Shedder(target_seconds)
        self._clock = clock
        self._heard_at = -math.inf
        self._began = -math.inf
        self._least = math.inf

    def waited(self, seconds: float, now: float) -> None:
        """Take how long a request has waited.

        Args:
            seconds: How long.
            now: When its wait was over, in seconds of a clock that never goes back.
        """
        self._least = min(self._least, seconds)
        if now - self._began >= _WHILE_SECONDS:
            self._shedder.measured(self._least)
            self._heard_at = self._clock()
            self._began, self._least = now, math.inf

    def turns_away(self, running: int) -> bool:
        """Decide about one request.

        Args:
            running: How many are being served.
        """
        if running < LEAST_RUNNING or not self._shedder.share:
            return False
        if self._clock() - self._heard_at > _KNOWN_SECONDS:
            # Many may only be listening: whoever comes after a pause is not of the crowd before it.
            self._shedder.measured(0.0)
        return self._shedder.turns_away()


class LoadGate:
    """Asks a shedder about requests, and tells it of this event loop while there are many."""

    __slots__ = ("_asked", "_logged_at", "_loop", "_shedder", "_timer")

    def __init__(self, target_seconds: float) -> None:
        """Begin; within the event loop that serves.

        Args:
            target_seconds: How far behind the loop may be.
        """
        self._loop = asyncio.get_running_loop()
        self._shedder = Shedder(target_seconds)
        self._timer: asyncio.TimerHandle | None = None
        self._asked = False
        self._logged_at = -_LOG_EVERY_SECONDS

    @property
    def watching(self) -> bool:
        """Whether it is looked how far behind the loop is."""
        return self._timer is not None

    def turns_away(self, running: int) -> bool:
        """Decide about one request.

        Args:
            running: How many are being served.
        """
        if running < LEAST_RUNNING:
            return False
        self._asked = True
        if self._timer is None:
            self._look_again()
        return self._shedder.turns_away()

    def _look_again(self) -> None:
        due = self._loop.time() + _EVERY_SECONDS
        self._timer = self._loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        asked, self._asked = self._asked, False
        now = self._loop.time()
        self._shedder.measured(now - due if asked else 0.0)
        if self._shedder.share and now - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at = now
            logger.warning("more requests come than can be served: some are turned away")
        if asked:
            self._look_again()
        else:
            self._timer = None
