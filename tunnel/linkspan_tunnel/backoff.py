"""When to open the next tunnel after one has failed.

Pure: told the time and how to spread pauses. Above lies `channel`.
"""

from typing import Final

FIRST_SECONDS: Final = 0.02
LONGEST_SECONDS: Final = 0.25

SETTLED_SECONDS: Final = 1.0
"""How long a tunnel must have lasted for its end not to count as a failure to open one."""


class Backoff:
    """How long to wait: twice as long after each failure in a row, up to a quarter of a second."""

    def __init__(self) -> None:
        self._failures = 0

    def failed(self, spread: float) -> float:
        """Note a failure; return how long to wait, in seconds.

        Args:
            spread: What the pause is multiplied with, above 0 and at most 1, so that not all clients
                come back at once.
        """
        pause = min(FIRST_SECONDS * (1 << min(self._failures, 8)), LONGEST_SECONDS)
        self._failures += 1
        return pause * spread

    def ended(self, lasted_seconds: float, spread: float) -> float:
        """Note that a tunnel has ended; return how long to wait, in seconds: 0 if it had lasted."""
        if lasted_seconds < SETTLED_SECONDS:
            return self.failed(spread)
        self._failures = 0
        return 0.0
